from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.model.summary import SummaryBatch, SummaryColumns
from cadtwist.stages.rollup import NameRule, NameSpread, carets, levels_above
from cadtwist.telemetry import Account


class RuleTests(SynchronousTestCase):
    def test_levels_above(self) -> None:
        for levels, name, names in (
            (0, b"a.b.c", [b"a.b.c"]),
            (2, b"a.b.c.d", [b"a.b.c.d", b"a.b.c", b"a.b"]),
            (9, b"a.b.c", [b"a.b.c", b"a.b", b"a"]),
            (2, b"*a.b", [b"*a.b", b"*a"]),
            (2, b"alone", [b"alone"]),
            (1, b"*.a", [b"*.a"]),
        ):
            self.assertEqual(levels_above(levels)(name), tuple(names))


class NameSpreadTests(SynchronousTestCase):
    def stage(self, rule: NameRule, max_bytes: int = 0) -> None:
        self.table = active.table.MetricTable(1, max_bytes)
        self.account = Account("spread")
        self.passed: list[tuple[bytes, float]] = []
        self.sizes: list[int] = []
        self.stage_ = NameSpread(rule, self.table, self, self.account)

    def accept(self, batch: SummaryBatch) -> None:
        self.passed += zip(self.table.names(batch.ids), batch.sums.tolist(), strict=True)
        self.sizes.append(len(batch))

    def send(self, *names: bytes) -> None:
        columns = SummaryColumns(len(names))
        columns.ids[:] = [self.table.intern(name, 5) for name in names]
        columns.sums[:] = np.arange(len(names))
        columns.n = len(names)
        self.stage_.accept(columns.batch())

    def test_gives_a_sample_to_every_counter_meant(self) -> None:
        self.stage(carets)
        self.send(b"plain", b"a^b^c", b"^")
        self.assertEqual(self.passed, [(b"plain", 0.0), (b"a.b", 1.0), (b"a.c", 1.0)])
        self.assertEqual((self.account.dropped, self.account.balance()), ({"name": 1}, 0))

    def test_a_counter_gets_a_sample_once(self) -> None:
        self.stage(carets)
        self.send(b"a^b^b^")
        self.assertEqual(self.passed, [(b"a.b", 0.0), (b"a", 0.0)])

    def test_plain_names_pass_as_they_are(self) -> None:
        self.stage(levels_above(0))
        for _ in range(2):
            self.send(b"a.b", b"*c.d")
        self.assertEqual((len(self.passed), self.account.out, self.account.made), (4, 4, 0))

    def test_parts_are_no_longer_than_a_batch(self) -> None:
        self.stage(levels_above(3))
        self.send(*[b"a.b.c.d"] * 5000)
        self.assertEqual((len(self.passed), max(self.sizes), self.account.balance()), (20000, 8192, 0))

    def test_targets_are_claimed_until_the_name_is_forgotten(self) -> None:
        self.stage(carets)
        self.send(b"a^b^c")
        ids = self.table.live()
        self.assertEqual(self.stage_.holds(ids).tolist(), [False, True, True])
        self.stage_.forget(ids[:1])
        self.assertEqual(self.stage_.holds(ids).tolist(), [False] * 3)

    def test_without_room_for_names_samples_are_dropped(self) -> None:
        self.stage(carets, max_bytes=100)
        self.send(b"a^b^c^d^e^f")
        self.assertEqual((self.passed, self.account.dropped), ([], {"table_full": 1}))
