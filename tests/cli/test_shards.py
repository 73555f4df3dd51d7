"""`cadtwist shards`."""

from __future__ import annotations

import contextlib
import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli import shards


class ShardsTests(SynchronousTestCase):
    def run_tool(self, *argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr):
            code = shards.run(argv, stdout)
        return code, stdout.getvalue(), stderr.getvalue()

    def file(self, content: object) -> str:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def test_a_new_map(self) -> None:
        code, told, _ = self.run_tool("new", "--count", "4", "a:1", "b:1")
        self.assertEqual((code, json.loads(told)), (0, {"shard_map": ["a:1", "a:1", "b:1", "b:1"]}))
        for argv in (("--count", "1", "a:1", "b:1"), ("--count", "4", "a"), ("--count", "4", "a:1", "a:1")):
            code, told, fault = self.run_tool("new", *argv)
            self.assertEqual((code, told), (2, ""))
            self.assertTrue(fault.startswith("cadtwist shards: "))

    def test_a_plan_for_people(self) -> None:
        path, lines = self.file(["a:1", "a:1", "a:1", "b:10"]), self.file("50\n30\n20\n0\n")
        self.assertEqual(
            self.run_tool("plan", path, lines),
            (0, "shard 0: a:1 -> b:10 (50 lines)\na:1   100 lines -> 50\nb:10  0 lines -> 50\n", ""),
        )
        self.assertIn("no move would help\n", self.run_tool("plan", path, lines, "--tolerance", "100")[1])
        self.assertIn("no move would help\n", self.run_tool("plan", path, lines, "--max-moves", "0")[1])

    def test_a_plan_as_a_map(self) -> None:
        config = {"statsd": {"shard_map": ["a:1", "a:1"], "duplicate_to": [{}, {"shard_map": ["b:1", "b:1"]}]}}
        path, lines = self.file(config), self.file([7, 5])
        code, told, _ = self.run_tool("plan", path, lines, "--group", "2", "--add", "c:1", "--json")
        self.assertEqual((code, json.loads(told)["shard_map"]), (0, ["c:1", "b:1"]))
        self.assertEqual(json.loads(told)["after"], {"b:1": 5, "c:1": 7})
        code, told, _ = self.run_tool("plan", path, lines, "--remove", "a:1", "--add", "c:1", "--json")
        self.assertEqual([move["target"] for move in json.loads(told)["moves"]], ["c:1", "c:1"])

    def test_what_a_relay_tells(self) -> None:
        groups = [{"group": "s.0", "shard_map": [], "lines": [1, 2]}, {"group": "s.1", "shard_map": [], "lines": [3]}]
        section = {"valid_line_count": 5, "shards": groups}
        for told in ({"other": {"shards": []}, "s": section}, section):
            self.assertEqual(shards.read_lines(json.dumps(told)), [1, 2])
            self.assertEqual(shards.read_lines(json.dumps(told), 1), [3])
            self.assertRaisesRegex(ValueError, "no group 2", shards.read_lines, json.dumps(told), 2)
        path, lines = self.file(["a:1", "a:1", "b:1"]), self.file({"s": {"shards": [{"lines": [5, 4, 0]}]}})
        self.assertIn("shard 0: a:1 -> b:1 (5 lines)", self.run_tool("plan", path, lines)[1])

    def test_shards_of_another_shape(self) -> None:
        for found in ({"0": 100}, [1, 2], ["x"], "x", 5, [{"lines": 5}], [{}], [{"lines": {"0": 1}}]):
            with self.assertRaisesRegex(ValueError, "are not what /stats tells"):
                shards.read_lines(json.dumps({"shards": found}))
            self.assertEqual(self.run_tool("plan", self.file(["a:1"]), self.file({"s": {"shards": found}}))[0], 2)

    def test_what_cannot_be_used(self) -> None:
        good, lines = self.file(["a:1"]), self.file("[1]")
        config = self.file({"statsd": {"shard_map": ["a:1"], "duplicate_to": {"shard_map": ["b:1"]}}})
        for argv, told in (
            ((self.file("{"), lines), "the map is not JSON"),
            ((self.file([1]), lines), "there is no shard map"),
            ((self.file([]), lines), "there is no shard map"),
            ((self.file({"statsd": []}), lines), "there is no shard map"),
            ((good, lines, "--group", "1"), "groups are for"),
            ((config, lines, "--group", "2"), "there is no shard map"),
            ((good, self.file("[1, 2]")), "2 counts of lines for 1 shards"),
            ((good, self.file("[1.5]")), "not whole numbers"),
            ((good, self.file("one")), "cannot be read"),
            ((good, lines, "--add", "b"), "'b' is not host:port"),
            ((good, "/no/such/file"), "No such file"),
        ):
            code, shown, fault = self.run_tool("plan", *argv)
            self.assertEqual((code, shown), (2, ""))
            self.assertIn(told, fault)
        self.assertEqual(self.run_tool("plan", config, lines, "--group", "1")[0], 0)

    @settings(max_examples=200, deadline=None, database=None, print_blob=True)
    @given(st.text('[]{}":,0123 statdshrd_mp', max_size=30), st.integers(0, 3))
    def test_any_text_is_a_map_or_a_clear_fault(self, text: str, group: int) -> None:
        for read in (lambda: shards.read_map(text, group), lambda: shards.read_lines(text)):
            try:
                self.assertIsInstance(read(), list)
            except ValueError as error:
                self.assertTrue(str(error))
