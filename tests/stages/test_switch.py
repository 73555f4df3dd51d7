"""Which relay, all groups, a share."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Spans
from cadtwist.model.prereg import PreReg, PreRegFilter
from cadtwist.stages.switch import Sample, Switch, Tee
from cadtwist.telemetry import Account


@implementer(ISink)
class Seen:
    """Keeps ids and lines."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.lines: list[bytes] = []
        self.batches: list[Batch] = []

    def accept(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.ids += batch.ids.tolist()
        if batch.spans is not None:
            self.lines += [batch.spans.data[a:b] for a, _, b in batch.spans.table.tolist()]


def batch_of(table: active.table.MetricTable, *names: bytes) -> Batch:
    """Return a Batch of lines `name 1`."""
    data, rows = b"", []
    for name in names:
        rows.append((len(data), len(data) + len(name), len(data) + len(name) + 2))
        data += name + b" 1\n"
    ids = np.array([table.intern(name, 1) for name in names], np.uint32)
    return Batch(ids, np.zeros(len(names)), np.zeros(len(names)), None, Spans(data, np.array(rows, np.uint32)))


class SwitchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(3)
        self.here, self.there, self.account = Seen(), Seen(), Account("switch")
        filters = PreReg(
            (
                PreRegFilter("prefix", "drop.", reject=True),
                PreRegFilter("substring", ".far.", "there"),
                PreRegFilter("regex", "lost$", "nowhere"),
            ),
            "here",
        )
        self.switch = Switch(filters, {"here": self.here, "there": self.there}, self.table, self.account)

    def test_rejects_and_redirects(self) -> None:
        self.switch.accept(batch_of(self.table, b"a", b"drop.x", b"b.far.c", b"lost", b"b"))
        self.assertEqual((self.here.lines, self.there.lines), ([b"a 1", b"b 1"], [b"b.far.c 1"]))
        self.assertEqual(self.account.dropped, {"rejected": 1, "no_relay": 1})
        self.assertEqual((self.account.received, self.account.out, self.account.balance()), (5, 3, 0))

    def test_passes_a_batch_of_one_relay_on_as_it_is(self) -> None:
        for sink, names in ((self.there, (b"x.far.1", b"x.far.2")), (self.here, (b"a", b"b")), (self.here, (b"a",))):
            for _ in range(2):
                batch = batch_of(self.table, *names)
                self.switch.accept(batch)
                self.assertIs(sink.batches[-1], batch)

    def test_asks_again_about_forgotten_ids(self) -> None:
        batch = batch_of(self.table, b"a")
        self.switch.accept(batch)
        self.table.retire(batch.ids)
        self.switch.forget(batch.ids)
        self.table.recycle(batch.ids)
        self.switch.accept(batch_of(self.table, b"drop.y"))
        self.assertEqual((len(self.here.ids), self.account.dropped), (1, {"rejected": 1}))
        self.assertFalse(self.switch.holds(batch.ids).any())

    def test_explains(self) -> None:
        told = [self.switch.explain(name) for name in ("a", "drop.z", "x.far.y")]
        self.assertEqual(told, ["a: to relay here", "drop.z: rejected", "x.far.y: to relay there"])
        self.assertTrue(verifyObject(ISink, self.switch) and verifyObject(IHolder, self.switch))


class TeeTests(SynchronousTestCase):
    def test_gives_everything_to_all(self) -> None:
        table, account, first, second = active.table.MetricTable(3), Account("tee"), Seen(), Seen()
        Tee((first, second), account).accept(batch_of(table, b"a", b"b"))
        self.assertEqual((first.lines, second.lines), ([b"a 1", b"b 1"],) * 2)
        self.assertEqual((account.received, account.made, account.out, account.balance()), (2, 2, 4, 0))
        Tee((), account).accept(batch_of(table, b"a"))
        self.assertEqual((account.dropped, account.balance()), ({"no_group": 1}, 0))


class SampleTests(SynchronousTestCase):
    def test_passes_a_share(self) -> None:
        table = active.table.MetricTable(3)
        batch = batch_of(table, *(b"n%d" % number for number in range(1000)))
        for share, least, most in ((1.0, 1000, 1000), (0.25, 180, 320), (0.0, 0, 0)):
            account, seen = Account("sample"), Seen()
            Sample(share, seen, account, np.random.default_rng(7)).accept(batch)
            self.assertTrue(least <= len(seen.ids) <= most, len(seen.ids))
            self.assertEqual((account.out, account.balance()), (len(seen.ids), 0))
            self.assertEqual(seen.ids, sorted(seen.ids))
            self.assertEqual(len(seen.lines), len(seen.ids))
