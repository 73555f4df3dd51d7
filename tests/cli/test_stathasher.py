"""stathasher, against what was recorded of it."""

from __future__ import annotations

import io
import json
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.stathasher import run

_RECORDED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "statsrelay")


class StathasherTests(SynchronousTestCase):
    def setUp(self) -> None:
        with open(os.path.join(_RECORDED, "process.json"), encoding="utf-8") as file:
            self.recorded = json.load(file)

    def hash(self, names: str, statsd: object) -> tuple[int, str, str]:
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"statsd": statsd}, file)
        out, err = io.StringIO(), io.StringIO()
        return run(["stathasher", "-c", path], io.StringIO(names), out, err), out.getvalue(), err.getvalue()

    def test_what_was_recorded(self) -> None:
        shards = [f"127.0.0.1:300{number}" for number in range(4)]
        eight = [{"shard_map": ["127.0.0.1:8128"] * 8, "health_metrics_to": {"shard_map": ["127.0.0.1:8128"]}}]
        alone = {"duplicate_to": [{"shard_map": ["h:1", "h:2"]}, {"shard_map": ["127.0.0.1:8128"]}]}
        cases = ({"shard_map": shards}, {}, alone, eight[0])
        for case, recorded in zip(cases, self.recorded["stathasher"], strict=True):
            status, out, err = self.hash("foo\nbar\n", case)
            self.assertEqual((status, err), (recorded["rc"], ""))
            self.assertEqual(out, recorded["stdout"])

    def test_a_name_ends_at_white_space(self) -> None:
        status, out, _ = self.hash("a b\n\n c\n", {"shard_map": ["h:1:udp"]})
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in out.splitlines()], ["key=a", "key=", "key="])
        self.assertIn("statsd=h:1:udp statsd_shard=0 send_health_metrics=false", out)

    def test_help_and_faults(self) -> None:
        recorded = self.recorded["stathasher_help"]
        out = io.StringIO()
        self.assertEqual(run(["stathasher", "-h"], [], out, io.StringIO()), recorded["rc"])
        self.assertEqual(out.getvalue(), recorded["stdout"])
        self.assertEqual(run(["stathasher", "-x"], [], out, io.StringIO()), 1)
        self.assertEqual(run(["stathasher", "-c", "/none"], [], out, io.StringIO()), 1)
        self.assertEqual(self.hash("a\n", {"shard_map": ["h"]})[0], 1)
