"""`cadtwist fetch`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time

import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.fetch import Fetched, from_answer, from_file, run
from cadtwist.storage.ceres import CeresStore
from cadtwist.storage.schemas import SchemaTable
from tests.contracts.test_store import job
from tests.storage.test_ceres import DATA as CERES

NOW = 1_700_000_000


def output(*argv: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(stderr):
        status = run(argv, stdout, {})
    return status, stdout.getvalue(), stderr.getvalue()


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = self.mktemp()
        os.makedirs(os.path.join(self.root, "a", "b"))
        self.path = os.path.join(self.root, "a", "b", "c.wsp")
        whisper.create(self.path, [(60, 100)])

    def test_file(self) -> None:
        whisper.update_many(self.path, [(NOW, 1.0), (NOW - 120, 3.0)], now=NOW)
        fetched = from_file("x", self.path, NOW - 180, NOW, NOW)
        interval = NOW // 60 * 60
        self.assertEqual(fetched, Fetched("x", [interval - 120, interval - 60, interval], [3.0, None, 1.0]))

    def test_future_range_is_empty(self) -> None:
        self.assertEqual(from_file("x", self.path, NOW + 60, NOW + 120, NOW), Fetched("x", [], []))

    def test_metric_of_a_store(self) -> None:
        now = int(time.time())
        whisper.update_many(self.path, [(now - 60, 5.0)])
        status, text, _ = output("--root", self.root, "a.b.c", "--from=-5min", "--drop=nulls")
        self.assertEqual((status, text), (0, f"{(now - 60) // 60 * 60}\t5.0\n"))
        _, text, _ = output(self.path, "--from=-5min", "--json")
        (series,) = json.loads(text)
        self.assertEqual([value for value, _ in series["datapoints"] if value is not None], [5.0])
        _, text, _ = output(self.path, "--from=-5min", "--format=csv", "--drop=empty")
        self.assertEqual(text, f"{self.path},{(now - 60) // 60 * 60},5.0\n")

    def test_ceres_nodes(self) -> None:
        node = str(CERES / "tree" / "sub" / "metric")
        fetched = from_file("x", node, 1700000045, 1700000065, NOW)
        self.assertEqual(fetched, Fetched("x", [1700000040, 1700000050], [0.0, 1.0]))
        asked = ("--from=00:00_20231114", "--until=1700000060", "--drop=nulls", "--format=csv")
        status, text, _ = output("--root", str(CERES / "tree"), "sub.metric", "del.me", *asked)
        self.assertEqual(status, 0)
        self.assertEqual(text.splitlines()[-2:], ["sub.metric,1699999980,59.0", "sub.metric,1700000040,1.0"])

    def test_a_tree_of_both_kinds(self) -> None:
        """New points are in a ceres node, older ones in the whisper file of the same name."""
        now = int(time.time()) // 60 * 60
        whisper.update_many(self.path, [(now - 240, 1.0), (now - 180, 2.0)])
        schemas = SchemaTable()
        store = CeresStore(self.root, schemas)
        store.write(job(schemas, {"a.b.c": [(now - 180, 3.0), (now - 120, 4.0)]}, now))
        _, text, _ = output("--root", self.root, "a.b.c", "--from=-10min", "--drop=nulls")
        expected = [(now - 240, 1.0), (now - 180, 3.0), (now - 120, 4.0)]
        self.assertEqual(text, "".join(f"{when}\t{value}\n" for when, value in expected))

    def test_faults_are_told(self) -> None:
        for argv in (("--root", self.root, "no.such"), (self.path, "--from=sometime"), ("--url=gopher://x", "a")):
            status, text, errors = output(*argv)
            self.assertEqual((status, text), (1, ""), argv)
            self.assertTrue(errors.startswith("cadtwist fetch: "))

    def test_answer_of_a_server(self) -> None:
        body = b'[{"target": "a.b", "datapoints": [[1.5, 60], [null, 120]]}]'
        self.assertEqual(from_answer(body), [Fetched("a.b", [60, 120], [1.5, None])])
        self.assertRaises((ValueError, KeyError, TypeError), from_answer, b'[{"x": 1}]')
