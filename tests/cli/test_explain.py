"""`cadtwist explain` and `cadtwist check --store`."""

from __future__ import annotations

import contextlib
import io
import json
import os

import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli import explain, storecheck


class _Site(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = os.path.join(self.root, "storage", "whisper")
        os.makedirs(os.path.join(self.root, "conf"))
        self.write("carbon.conf", "[cache]\nUSE_WHITELIST = True\n")
        self.write("storage-schemas.conf", "[fast]\npattern = ^fast\\.\nretentions = 10s:1h,60s:1d\n")
        sums = "[sums]\npattern = \\.count$\nxFilesFactor = 0\naggregationMethod = sum\n"
        self.write("storage-aggregation.conf", sums)
        self.write("blacklist.conf", "secret\n")
        self.environ = {"GRAPHITE_ROOT": self.root}

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.root, "conf", name), "w", encoding="utf-8") as file:
            file.write(text)

    def file(self, path: str, archives: list[tuple[int, int]]) -> str:
        full = os.path.join(self.files, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        whisper.create(full, archives)
        return full


class ExplainTests(_Site):
    def steps(self, name: str) -> dict[str, str]:
        stdout = io.StringIO()
        self.assertEqual(explain.run(["--json", name], stdout, self.environ), 0)
        return {step["station"]: step["decided"] for step in json.loads(stdout.getvalue())[name]}

    def test_a_metric_that_passes(self) -> None:
        path = os.path.join(self.files, "fast", "a", "count.wsp")
        expected = {
            "blacklist": "passes",
            "tags": "passes",
            "schema": "[fast] 10s:1h,60s:1d",
            "aggregation": "[sums] sum, xFilesFactor 0",
            "file": f"{path} (does not exist yet)",
            "owner": "carbon-cache, instance a",
        }
        self.assertEqual(self.steps("fast.a.count"), expected)

    def test_a_metric_that_is_dropped(self) -> None:
        self.assertEqual(self.steps("my.secret.x"), {"blacklist": "dropped (blacklist)"})

    def test_existing_files(self) -> None:
        path = self.file("fast/x.wsp", [(10, 360), (60, 1440)])
        self.assertEqual(self.steps("fast.x")["file"], f"{path} (exists)")
        path = self.file("fast/y.wsp", [(60, 1440)])
        self.assertEqual(self.steps("fast.y")["file"], f"{path} (exists, but keeps 60s:1d)")
        with open(path, "wb") as file:
            file.write(b"rubbish")
        self.assertIn("cannot be used", self.steps("fast.y")["file"])

    def test_tags_are_brought_into_order(self) -> None:
        self.assertEqual(self.steps("fast;b=2;a=1")["tags"], "becomes fast;a=1;b=2")

    def test_text(self) -> None:
        stdout = io.StringIO()
        explain.run(["fast;b=2;a=1"], stdout, self.environ)
        lines = stdout.getvalue().splitlines()
        self.assertEqual(lines[0], "fast;b=2;a=1")
        self.assertIn("  schema     fast;a=1;b=2: [default] 60s:7d", lines)

    def test_faulty_configuration(self) -> None:
        self.write("carbon.conf", "[cache]\nLINE_RECEIVER_PORT = many\n")
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            self.assertEqual(explain.run(["a"], io.StringIO(), self.environ), 2)
        self.assertIn("LINE_RECEIVER_PORT", stderr.getvalue())


class StoreCheckTests(_Site):
    def check(self) -> tuple[int, str]:
        stdout = io.StringIO()
        status = storecheck.run(["--store"], stdout, self.environ)
        return status, stdout.getvalue()

    def test_files_like_their_schema(self) -> None:
        self.file("fast/x.wsp", [(10, 360), (60, 1440)])
        self.file("other.wsp", [(60, 10080)])
        status, text = self.check()
        self.assertEqual(status, 0, text)

    def test_files_unlike_their_schema(self) -> None:
        path = self.file("fast/x.wsp", [(60, 1440)])
        status, text = self.check()
        self.assertEqual(status, 2)
        self.assertIn(f"{path}: keeps 60s:1d, schema [fast] says 10s:1h,60s:1d", text)

    def test_damaged_files(self) -> None:
        path = self.file("fast/x.wsp", [(60, 1440)])
        os.truncate(path, 100)
        status, text = self.check()
        self.assertEqual(status, 2)
        self.assertIn(f"{path}: cannot be used", text)
