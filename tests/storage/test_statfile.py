"""The store of StatFiles: what is beside the kernel."""

from __future__ import annotations

import itertools
import os

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.model.statjob import Shift, StatJob
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.model.writejob import CREATED, QUARANTINED
from cadtwist.storage.reports import FileReport
from cadtwist.storage.statfile import StatFileOptions, StatStore
from tests.kernels.statjobs import Sample, gauge, job

T = 1325394000


def stat_job(samples: dict[bytes, list[Sample]], shift: Shift = Shift.NONE, events: bool = False) -> StatJob:
    arguments, _statuses = job(samples, T + 1000, int(shift), events=events)
    names, name_offsets, ids, kinds, offsets, *rest = arguments
    return StatJob(ids, names, name_offsets, kinds, offsets, tuple(rest[:6]), T + 1000, shift)  # type: ignore[arg-type]


class StatStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = self.make()

    def make(self, **options: bool) -> StatStore:
        retentions = parse_stat_retentions("10s:1h,5m:2h")
        return StatStore(self.mktemp(), retentions, StatFileOptions(sparse=True, **options), lanes=2)

    def files(self, folder: str) -> list[str]:
        return sorted(
            os.path.relpath(os.path.join(where, name), folder) for where, _, names in os.walk(folder) for name in names
        )

    def test_writes_and_reads(self) -> None:
        self.assertEqual(self.store.write(stat_job({b"a.b": [gauge(T, 5.0)]})).tolist(), [CREATED])
        with self.store.reader(b"a.b") as reader:
            self.assertEqual(reader.cells(0, 0, 1)["sum"].tolist(), [5.0])
        self.assertEqual(self.store.counters()["samples"], 1)
        self.assertRaises(StorageError, self.store.reader, b"a..b")

    def test_the_log_hears_before_a_file_is_changed(self) -> None:
        self.store.write(stat_job({b"a": [gauge(T, 5.0)]}))
        seen = []

        def log(redo: bytes) -> None:
            with self.store.reader(b"a") as reader:
                seen.append((reader.cells(0, 0, 1)["sum"].tolist(), redo))

        self.store.write(stat_job({b"a": [gauge(T, 6.0)]}), log)
        ((before, redo),) = seen
        self.assertEqual(before, [5.0])
        states: dict[bytes, bytes] = {}
        self.store.recover(redo, states.__setitem__)
        self.assertEqual(states, {b"a": b""})
        with self.store.reader(b"a") as reader:
            self.assertEqual(reader.cells(0, 0, 1)["sum"].tolist(), [11.0])
        self.assertRaises(StorageError, self.store.recover, redo[:-2])

    def test_knows_what_a_counter_is(self) -> None:
        self.store.write(stat_job({b"e.x": [gauge(T, 5.0)]}, events=True))
        self.assertEqual(
            [self.store.is_event(name) for name in (b"e.x", b"e", b"none", b"a..b")], [True, True, None, None]
        )
        self.assertTrue(self.store.holds(np.array([0, 1], np.uint32))[0])
        self.store.lane_of(0).restore(0, self.store.lane_of(0).state(0))

    def test_walks_all_counters(self) -> None:
        self.store.write(stat_job({b"a.b": [gauge(T, 5.0)], b"c": [gauge(T, 5.0)]}))
        os.makedirs(os.path.join(self.store.root, ".hidden", "x"))
        with open(os.path.join(self.store.root, "c", "5m"), "w", encoding="ascii") as file:
            file.write("damaged")
        self.assertEqual(sorted(itertools.chain(*self.store.walk(1))), [(b"a", False), (b"a.b", False), (b"c", False)])
        os.unlink(os.path.join(self.store.root, "a", "5m"))
        strict = StatStore(self.store.root, self.store.retentions, StatFileOptions(parents=False))
        self.assertEqual(sorted(itertools.chain(*strict.walk())), [(b"a.b", False), (b"c", False)])

    def test_deleted_counters_move_to_the_backup(self) -> None:
        self.store.write(stat_job({b"a.b.c": [gauge(T, 5.0)], b"d": [gauge(T, 5.0)]}))
        self.assertTrue(self.store.delete(b"a.b.c"))
        self.assertFalse(self.store.delete(b"a.b.c"))
        self.assertFalse(self.store.delete(b"d.10s.x"))
        self.assertEqual(self.files(self.store.backup), ["a/b/c/10s", "a/b/c/5m"])
        self.assertEqual(self.files(self.store.root), ["a/10s", "a/5m", "a/b/10s", "a/b/5m", "d/10s", "d/5m"])
        self.assertFalse(os.path.exists(os.path.join(self.store.root, "a/b/c")))
        self.assertTrue(self.store.delete(b"a.b"))
        self.assertTrue(self.store.delete(b"a"))
        self.assertEqual(os.listdir(self.store.root), ["d"])

    def test_an_older_backup_stays(self) -> None:
        for value in (5.0, 6.0):
            self.store.write(stat_job({b"a": [gauge(T, value)]}))
            self.store.delete(b"a")
        backup = StatStore(self.store.backup, self.store.retentions)
        with backup.reader(b"a") as reader:
            self.assertEqual(reader.cells(0, 0, 1)["sum"].tolist(), [5.0])

    def test_a_deleted_counter_begins_anew(self) -> None:
        self.store.write(stat_job({b"a": [gauge(T, 5.0)]}))
        self.store.delete(b"a")
        self.assertEqual(self.store.write(stat_job({b"a": [gauge(T, 6.0)]})).tolist(), [CREATED])

    def test_prunes_empty_folders(self) -> None:
        os.makedirs(os.path.join(self.store.root, "x/y/z"))
        self.store.write(stat_job({b"a": [gauge(T, 5.0)]}))
        self.assertEqual(self.store.prune(), 3)
        self.assertEqual(os.listdir(self.store.root), ["a"])

    def test_reports_a_fault_once(self) -> None:
        self.store.write(stat_job({b"a": [gauge(T, 5.0)]}))
        for file in ("10s", "5m"):
            with open(os.path.join(self.store.root, "a", file), "w", encoding="ascii") as out:
                out.write("x" * 600)
        self.store.close()
        for _ in range(2):
            self.assertEqual(self.store.write(stat_job({b"a": [gauge(T, 5.0)]})).tolist(), [QUARANTINED])
        self.assertEqual(self.store.reports(), [FileReport("quarantined", "a", "")])
        self.assertEqual(self.store.reports(), [])
