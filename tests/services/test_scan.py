"""Finding files: frames of a scanning process, the first scan, later ones, and the names index that they renew."""

from __future__ import annotations

import io
import os
import struct
import sys
from itertools import pairwise
from typing import Any

import numpy as np
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cadtwist.kernels import active
from cadtwist.model.batch import Ids
from cadtwist.query.index import HAS_FILE, HOT, MetricIndex
from cadtwist.services.known import KnownNames
from cadtwist.services.scan import FileScan, encode_names, main


class Names:
    """Notes what a scan tells."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def on_disk(self, blob: bytes, offsets: Ids) -> None:
        bounds = offsets.tolist()
        self.events.append([blob[a:b].decode() for a, b in pairwise(bounds)])

    def begin_scan(self) -> None:
        self.events.append("begin")

    def end_scan(self, whole: bool) -> Deferred[None] | None:
        self.events.append(f"end {whole}")
        return None


class SlowNames(Names):
    """Takes its time over what a later scan found."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[Deferred[None]] = []

    def end_scan(self, whole: bool) -> Deferred[None]:
        self.ended.append(Deferred())
        return self.ended[-1]


class Pipe:
    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")


class Spawner(Clock):
    """A reactor whose processes are played by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.protocols: list[Any] = []
        self.killed = 0
        self.pipes = {1: Pipe()}

    def spawnProcess(self, protocol: Any, *_: object, **__: object) -> Spawner:
        self.protocols.append(protocol)
        protocol.transport = self
        return self

    def signalProcess(self, _: str) -> None:
        self.killed += 1

    def end(self, code: int = 0) -> None:
        reason = ProcessTerminated(code) if code else ProcessDone(0)
        self.protocols[-1].processEnded(Failure(reason))


class FileScanTests(SynchronousTestCase):
    """Scans one after the other."""

    def started(self, rescan_s: float = 60.0, names: Names | None = None) -> tuple[Spawner, Names, FileScan]:
        folder = self.mktemp()
        os.makedirs(folder)
        reactor, names = Spawner(), names or Names()
        scan = FileScan(reactor, (folder,), names, rescan_s)
        scan.startService()
        return reactor, names, scan

    def test_frames_come_whole_however_they_are_cut(self) -> None:
        reactor, names, scan = self.started()
        data = encode_names(["a.b", "c"]) + encode_names([]) + encode_names(["d.\u00e9"])
        for at in range(0, len(data), 3):
            reactor.protocols[0].outReceived(data[at : at + 3])
        self.assertEqual(names.events, [["a.b", "c"], [], ["d.\u00e9"]])
        self.assertFalse(scan.done)
        reactor.end()
        self.assertTrue(scan.done)

    def test_a_later_scan_is_begun_and_ended(self) -> None:
        reactor, names, _scan = self.started()
        reactor.end()
        reactor.advance(59)
        self.assertEqual(len(reactor.protocols), 1)
        reactor.advance(1)
        reactor.protocols[1].outReceived(encode_names(["a"]))
        reactor.end()
        self.assertEqual(names.events, ["begin", ["a"], "end True"])
        reactor.advance(60)
        self.assertEqual(len(reactor.protocols), 3)

    def test_a_scan_that_is_asked_for(self) -> None:
        """It begins at once, but never beside another, nor before what the last one found is in the index."""
        names = SlowNames()
        reactor, _, scan = self.started(0.0, names)
        self.assertTrue(scan.ask())
        self.assertEqual(len(reactor.protocols), 1, "the first one is under way")
        reactor.end()
        scan.ask()
        scan.ask()
        self.assertEqual((len(reactor.protocols), names.events), (2, ["begin"]))
        reactor.end()
        scan.ask()
        self.assertEqual(len(reactor.protocols), 2, "its end is under way")
        names.ended[0].callback(None)
        scan.ask()
        self.assertEqual(len(reactor.protocols), 3)
        reactor.end()
        names.ended[1].callback(None)
        scan.stopService()
        self.assertFalse(scan.ask())
        self.assertEqual(len(reactor.protocols), 3)

    def test_a_scan_that_fails_is_not_whole(self) -> None:
        reactor, names, scan = self.started()
        reactor.end()
        scan.rescan()
        reactor.end(1)
        self.assertEqual(names.events, ["begin", "end False"])
        reactor.advance(60)
        self.assertEqual(names.events[-1], "begin")

    def test_a_new_interval_counts_at_once(self) -> None:
        reactor, _names, scan = self.started(0)
        reactor.end()
        reactor.advance(100_000)
        self.assertEqual(len(reactor.protocols), 1)
        scan.rescan_s = 5
        reactor.advance(5)
        self.assertEqual(len(reactor.protocols), 2)

    def test_stopping_kills_it(self) -> None:
        reactor, _names, scan = self.started()
        scan.stopService()
        self.assertEqual(reactor.killed, 1)
        reactor.end(9)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_without_a_folder_there_is_nothing_to_wait_for(self) -> None:
        reactor = Spawner()
        scan = FileScan(reactor, (self.mktemp(),), Names(), 7)
        scan.startService()
        self.assertTrue(scan.done)
        reactor.advance(7)
        self.assertEqual(len(reactor.protocols), 1)

    def test_a_turn_takes_only_so_long(self) -> None:
        """With its time used up, the pipe is not read until the next turn."""
        reactor, names, _scan = self.started()
        take = names.on_disk

        def slow(blob: bytes, offsets: Ids) -> None:
            take(blob, offsets)
            reactor.rightNow += 0.015

        reactor.protocols[0]._take = slow
        reactor.protocols[0].outReceived(encode_names(["a"]) * 5)
        self.assertEqual(len(names.events), 2)
        self.assertEqual(reactor.pipes[1].events, ["pause"])
        reactor.advance(0)
        self.assertEqual(len(names.events), 5)
        self.assertEqual(reactor.pipes[1].events, ["pause", "resume", "pause", "resume"])


class ProcessTests(TestCase):
    """A real scanning process."""

    timeout = 60

    def test_it_lists_a_tree(self) -> Deferred[None]:
        folder = self.mktemp()
        os.makedirs(os.path.join(folder, "a", "b"))
        for name in ("x.wsp", "y.wsp", "z.txt"):
            open(os.path.join(folder, "a", "b", name), "w").close()
        names = Names()
        ended: Deferred[None] = Deferred()
        names.end_scan = lambda whole: ended.callback(None)  # type: ignore[method-assign, assignment]
        command = (sys.executable, "-m", "cadtwist.services.scan")
        scan = FileScan(real_reactor, (folder,), names, 0.001, command)
        scan.startService()

        def check(_: object) -> None:
            scan.stopService()
            self.assertEqual([sorted(e) for e in names.events if isinstance(e, list)], [["a.b.x", "a.b.y"]] * 2)

        return ended.addCallback(check)

    def test_a_folder_that_is_gone_is_a_failure(self) -> None:
        self.assertRaises(OSError, main, self.mktemp(), io.BytesIO())
        output = io.BytesIO()
        folder = self.mktemp()
        os.makedirs(folder)
        main([folder], output)
        self.assertEqual(output.getvalue(), b"")
        self.assertEqual(struct.unpack_from("<II", encode_names(["ab"])), (1, 2))


class RenewalTests(SynchronousTestCase):
    """The second index takes the place of the first."""

    def setUp(self) -> None:
        self.table = active.table.MetricTable(1, 0)
        self.known = KnownNames(lambda: MetricIndex(7), self.table)
        self.unmet: list[int] = []

    def intern(self, *names: bytes) -> Ids:
        return np.array([self.table.intern(name, 1) for name in names], np.uint32)

    def disk(self, *names: str) -> None:
        frame = encode_names(names)
        offsets = np.frombuffer(frame[8 : 8 + 4 * (len(names) + 1)], np.uint32)
        self.known.on_disk(frame[8 + 4 * (len(names) + 1) :], offsets)

    def end(self, pending: set[int]) -> None:
        def holds(ids: Ids) -> Any:
            return np.isin(ids, sorted(pending))

        for _ in self.known.end_renewal(holds, lambda ids: self.unmet.extend(ids.tolist())):
            pass

    def test_files_that_went_are_found_no_longer(self) -> None:
        ids = self.intern(b"a.old", b"a.pending", b"a.stays", b"a;t=1")
        self.known.met(ids)
        self.disk("a.old", "a.pending", "a.stays", "nobody.wrote")
        self.known.begin_renewal()
        self.disk("a.stays", "b.copied")
        self.assertEqual(len(self.known.index), 5, "the first index answers until the end")
        index = self.known.index
        self.end({int(ids[1]), int(ids[3])})
        self.assertIs(self.known.index, index, "everybody who has it sees the new names")
        names = (b"a.old", b"a.pending", b"a.stays", b"a;t=1", b"nobody.wrote", b"b.copied")
        self.assertEqual([index.flags(name) for name in names], [0, HOT, HAS_FILE, HOT, 0, HAS_FILE])
        self.assertEqual(self.unmet, [int(ids[0]), int(ids[2])])

    def test_what_happens_meanwhile_is_in_both(self) -> None:
        self.known.begin_renewal()
        ids = self.intern(b"new", b"gone")
        self.known.met(ids)
        self.assertEqual(self.known.index.flags(b"new"), HOT)
        self.table.retire(ids[1:])
        self.known.forget(ids[1:])
        self.end(set())
        self.assertEqual((self.known.index.flags(b"new"), self.known.index.flags(b"gone")), (HOT, 0))

    def test_a_scan_that_failed_changes_nothing(self) -> None:
        self.disk("a")
        self.known.begin_renewal()
        self.known.give_up_renewal()
        self.disk("b")
        self.end(set())
        self.assertEqual((self.known.index.flags(b"a"), self.known.index.flags(b"b")), (HAS_FILE, HAS_FILE))
