"""What istatd's functional test of its exporter checks."""

from __future__ import annotations

from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.istat import StatCodec, StatTail
from cadtwist.kernels import active
from cadtwist.model.summary import SummaryColumns
from cadtwist.query.find import at_once
from cadtwist.stages.exposition import Exposition
from cadtwist.telemetry import Account

NOW = 1325395003


class ExpositionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = float(NOW)
        self.account = Account("prometheus")
        self.table = active.table.MetricTable(1)
        self.make()

    def make(self, **changes: Any) -> None:
        self.shown = Exposition(
            self.table, self.account, lambda: self.now, **{"keep_s": 30, "host": "me", **changes}
        )
        self.codec = StatCodec(self.table, SummaryColumns(100), self.shown.accept, lambda *_: None)

    def feed(self, *lines: str) -> None:
        data = "".join(f"{line}\n" for line in lines).encode()
        self.codec.feed(StatTail(), data, self.now, lambda *_bad: self.fail("all lines are good"))
        self.codec.flush()

    def text(self) -> list[str]:
        self.assertEqual(self.account.balance(), 0)
        return at_once(self.shown.text(self.now)).splitlines()

    def test_gauges_and_counters(self) -> None:
        self.feed(
            f"cpu.load^host.a^class.b {NOW - 2} 1.5", f"cpu.load^host.a^class.b {NOW - 1} 5 13 2 3 2", "*hits^host.a 3"
        )
        self.feed("*hits^host.a 4", "*hits^host.b 1")
        self.assertEqual(
            self.text(),
            [
                "# TYPE cpu_load gauge",
                f'cpu_load{{host="a",class="b"}} 1.5 {NOW - 2}000',
                f'cpu_load{{host="a",class="b"}} 2.5 {NOW - 1}000',
                "# TYPE hits counter",
                f'hits{{host="a",counter="1"}} 7 {NOW - 3}000',
                f'hits{{host="b",counter="1"}} 1 {NOW - 3}000',
            ],
        )

    def test_what_is_shown_ends(self) -> None:
        self.feed("g 1", "*c 1")
        self.shown.clean(self.now + 30)
        self.assertEqual(len(self.text()), 4)
        self.shown.clean(self.now + 31)
        self.assertEqual(self.text(), ["# TYPE c counter", f'c{{counter="1"}} 1 {NOW - 3}000'])
        self.shown.clean(self.now + 86401)
        self.assertEqual(self.text(), [])
        self.feed("*c 2")
        self.assertEqual(self.text()[1], f'c{{counter="1"}} 2 {NOW - 3}000')

    def test_a_sum_begins_anew_beyond_32_bits(self) -> None:
        self.feed("*c 4294967290", "*d 1")
        self.feed("*c 5")
        self.assertIn(f'c{{counter="1"}} 4294967295 {NOW - 3}000', self.text())
        self.feed("*c 6")
        self.assertIn(f'c{{counter="1"}} 6 {NOW - 3}000', self.text())

    def test_bounds(self) -> None:
        self.make(most=3)
        self.feed("g 1", "g 2", "*c 1", "g 3", "*d 4", "*c 5")
        told = self.text()
        self.assertIn(f'c{{counter="1"}} 6 {NOW - 3}000', told)
        self.assertIn(f'istatd_agent_dropped_metrics{{host="me",counter="1"}} 2 {NOW - 3}000', told)
        self.assertEqual(sum(line.startswith(("g ", "d")) for line in told), 2)
        self.assertEqual(self.account.dropped, {"max_metrics": 2})

    def test_claims_what_is_shown(self) -> None:
        self.feed("g 1", "*c 1")
        ids = np.array([self.table.lookup(b"g"), self.table.lookup(b"*c"), 77], np.uint32)
        self.assertEqual(self.shown.holds(ids).tolist(), [True, True, False])
        self.shown.clean(self.now + 1e6)
        self.assertEqual(self.shown.holds(ids).tolist(), [False, False, False])
        self.shown.forget(ids)
