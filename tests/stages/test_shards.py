"""Samples to the shards that keep them."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.shards import ShardStage
from cadtwist.telemetry import Account


class Sink:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.batches: list[SummaryBatch] = []

    def accept(self, batch: SummaryBatch) -> None:
        self.times += batch.timestamps.tolist()
        self.batches.append(batch)


class StageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(1)
        self.asked: list[bytes] = []
        self.sinks = {"a": Sink(), "b": Sink()}
        self.account = Account("shards")
        self.stage = ShardStage(self.keepers, self.sinks, self.table, self.account)

    def keepers(self, name: bytes) -> tuple[str, ...]:
        self.asked.append(name)
        return {b"one": ("a",), b"two": ("b",), b"both": ("b", "a"), b"far": ("z",), b"half": ("z", "a")}[name]

    def batch(self, *names: bytes) -> SummaryBatch:
        ids = np.array([self.table.intern(name, 1) for name in names], np.uint32)
        return SummaryBatch(ids, *(np.arange(len(names), dtype=np.float64) for _ in range(6)))

    def test_each_goes_where_it_is_kept(self) -> None:
        self.stage.accept(self.batch(b"one", b"two", b"both", b"far", b"half", b"one"))
        self.assertEqual(self.sinks["a"].times, [0, 2, 4, 5])
        self.assertEqual(self.sinks["b"].times, [1, 2])
        account = self.account
        self.assertEqual((account.received, account.made, account.out), (6, 1, 6))
        self.assertEqual(account.dropped, {"no_shard": 1})

    def test_a_name_is_asked_for_once(self) -> None:
        for _ in range(3):
            self.stage.accept(self.batch(b"one", b"two"))
        self.assertEqual(sorted(self.asked), [b"one", b"two"])
        self.stage.forget(np.array([self.table.intern(b"one", 1)], np.uint32))
        self.stage.accept(self.batch(b"one", b"two"))
        self.assertEqual(self.asked.count(b"one"), 2)

    def test_what_is_all_for_one_is_not_copied(self) -> None:
        batch = self.batch(b"one", b"one")
        self.stage.accept(batch)
        self.assertIs(self.sinks["a"].batches[0], batch)
        self.assertEqual(self.sinks["b"].batches, [])

    def test_nobody_keeps_anything(self) -> None:
        stage = ShardStage(self.keepers, {}, self.table, self.account)
        stage.accept(self.batch(b"one", b"two"))
        self.assertEqual((self.account.dropped, self.account.out), ({"no_shard": 2}, 0))
        self.assertFalse(stage.holds(np.zeros(3, np.uint32)).any())
