from __future__ import annotations

import errno
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.journal.disk import Disk
from cadtwist.journal.segments import FRAME_BYTES, HEADER_BYTES, Cursor, SegmentLog


class FullDisk(Disk):
    """Refuses to write, or to open, while told so."""

    def __init__(self) -> None:
        self.full = False
        self.room = 0

    def write(self, fd: int, data: Any, offset: int) -> None:
        if self.full:
            os.pwrite(fd, memoryview(data)[: self.room], offset)
            raise OSError(errno.ENOSPC, "no space")
        super().write(fd, data, offset)


def payloads(log: SegmentLog, begin: Cursor | None = None, before: int | None = None) -> list[bytes]:
    return [bytes(frame.payload) for frame in log.read(begin, before)]


class SegmentLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()

    def open(self, **options: Any) -> SegmentLog:
        log = SegmentLog(self.folder, **options)
        self.addCleanup(log.close)
        return log

    def test_an_empty_segment_is_gone_on_with(self) -> None:
        log = self.open()
        self.assertTrue(log.roll())
        self.assertEqual(log.serial, 1)
        log.append(1, b"x")
        log.write()
        self.assertEqual((payloads(log), log.torn), ([b"x"], 0))

    def test_reads_what_was_written(self) -> None:
        log = self.open()
        log.append(1, b"one")
        log.append(2, b"t", memoryview(b"wo"))
        log.append(3)
        self.assertEqual(payloads(log), [])
        self.assertTrue(log.write())
        frames = list(log.read())
        self.assertEqual([(f.kind, bytes(f.payload)) for f in frames], [(1, b"one"), (2, b"two"), (3, b"")])
        self.assertEqual([f.sequence for f in frames], [1, 2, 3])
        self.assertEqual(payloads(log, frames[0].after), [b"two", b""])
        self.assertEqual((log.torn, log.damaged), (0, 0))

    def test_layout(self) -> None:
        log = self.open()
        log.append(7, b"abc")
        log.write()
        data = (Path(self.folder) / "000000000001.seg").read_bytes()
        self.assertEqual(data[:8], b"CTWSEG1\n")
        self.assertEqual(struct.unpack_from("<IQQ", data, 12), (1, 1, 1))
        self.assertEqual(struct.unpack_from("<BIQI", data[64:65] + data[68:]), (7, 1, 1, 3))
        self.assertEqual(data[HEADER_BYTES + FRAME_BYTES :][:8], b"abc\0\0\0\0\0")
        self.assertEqual(data[-FRAME_BYTES:], bytes(FRAME_BYTES))

    def test_nothing_appended_writes_nothing(self) -> None:
        log = self.open()
        self.assertTrue(log.write())
        self.assertEqual(os.listdir(self.folder), ["lock"])

    def test_rolls_releases_and_recycles(self) -> None:
        log = self.open(segment_bytes=400, spares=1)
        for number in range(30):
            log.append(1, b"%060d" % number)
            log.write()
        self.assertGreater(len(log.serials), 6)
        self.assertEqual([int(p) for p in payloads(log)], list(range(30)))
        log.release(log.serial)
        self.assertEqual(log.serials, [log.serial])
        names = sorted(os.listdir(self.folder))
        self.assertEqual([name.rsplit(".")[-1] for name in names], ["spare", "seg", "lock"])
        for number in range(30, 36):
            log.append(1, b"%020d" % number)
            log.write()
        self.assertEqual([int(p) for p in payloads(log)][-6:], list(range(30, 36)))
        self.assertEqual((log.torn, log.damaged), (0, 0))

    def test_old_frames_of_a_recycled_segment_are_not_read(self) -> None:
        log = self.open(segment_bytes=1000, spares=2)
        for number in range(40):
            log.append(1, b"%08d" % number)
            log.write()
            log.release(log.serial)
        log.close()
        for turn in range(3):
            log = self.open(segment_bytes=1000, spares=2)
            before = payloads(log)
            log.append(1, b"turn%04d" % turn)
            log.write()
            self.assertEqual(payloads(log), [*before, b"turn%04d" % turn])
            self.assertEqual(log.torn, 0)
            log.close()

    def test_opening_again_goes_on_after_what_is_there(self) -> None:
        log = self.open()
        log.append(1, b"old")
        log.close()
        log = self.open()
        log.append(1, b"new")
        log.write()
        self.assertEqual(payloads(log, before=log.first_serial), [b"old"])
        self.assertEqual(payloads(log), [b"old", b"new"])
        self.assertEqual(log.epoch, 2)

    def test_large_frames_pass_through(self) -> None:
        log = self.open(segment_bytes=1000)
        large = os.urandom(3_000_001)
        for part in (b"a", large, b"b"):
            log.append(1, part)
        log.write()
        self.assertEqual(payloads(log), [b"a", large, b"b"])

    def test_truncated_at_every_byte(self) -> None:
        log = self.open()
        for number in range(5):
            log.append(1, b"frame %d" % number)
        log.write()
        log.close()
        path = Path(self.folder) / "000000000001.seg"
        data = path.read_bytes()
        ends = [HEADER_BYTES + 32 * number for number in range(6)]
        for size in range(len(data) + 1):
            path.write_bytes(data[:size])
            log = SegmentLog(self.folder)
            found = payloads(log)
            whole = max(0, sum(end - 1 <= size for end in ends) - 1)
            log.close()
            self.assertEqual(found, [b"frame %d" % n for n in range(whole)], size)

    def test_flipped_bytes_cost_one_frame_or_the_rest_of_the_segment(self) -> None:
        log = self.open(segment_bytes=300)
        sent = [b"frame %02d" % number for number in range(12)]
        for each in sent:
            log.append(1, each)
            log.write()
        log.close()
        path = Path(self.folder) / "000000000001.seg"
        data = path.read_bytes()
        for at in range(len(data) - FRAME_BYTES):
            broken = bytearray(data)
            broken[at] ^= 1 + random.Random(at).randrange(255)
            path.write_bytes(bytes(broken))
            log = SegmentLog(self.folder)
            found = payloads(log)
            torn, damaged = log.torn, log.damaged
            log.close()
            self.assertTrue(set(found) <= set(sent))
            self.assertEqual(found, sorted(found))
            self.assertEqual(found[-5:], sent[-5:])
            self.assertTrue(torn + damaged == 1 or found == sent, at)

    def test_two_processes_never_share_a_folder(self) -> None:
        self.open()
        script = (
            "import sys\nfrom cadtwist.journal.segments import SegmentLog\n"
            "from cadtwist.errors import StorageError\n"
            "try:\n    SegmentLog(sys.argv[1])\nexcept StorageError as error:\n    sys.exit(7)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, os.path.abspath(self.folder)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        self.assertEqual(done.returncode, 7)
        self.assertRaises(StorageError, SegmentLog, self.folder)

    def test_a_full_disk_loses_the_turn_and_nothing_else(self) -> None:
        for room in (0, 10, 100):
            disk = FullDisk()
            self.folder = self.mktemp()
            log = self.open(disk=disk)
            log.append(1, b"before")
            self.assertTrue(log.write())
            disk.full, disk.room = True, room
            log.append(1, b"lost" * 50)
            self.assertFalse(log.write())
            self.assertTrue(log.failing)
            self.assertEqual(log.append(1, b"lost"), 0)
            self.assertFalse(log.write())
            disk.full = False
            log.sync()
            self.assertFalse(log.write())
            self.assertGreater(log.append(1, b"after"), 1)
            self.assertTrue(log.write())
            self.assertFalse(log.failing)
            self.assertEqual(payloads(log), [b"before", b"after"])
            log.close()

    def test_full_from_the_first_write(self) -> None:
        disk = FullDisk()
        disk.full = True
        log = self.open(disk=disk)
        log.append(1, b"lost")
        self.assertFalse(log.write())
        disk.full = False
        for _ in range(300):
            log.append(1, b"x")
            if log.write():
                break
        self.assertEqual(payloads(log), [b"x"])

    def test_sync_prepares_a_spare_that_is_used(self) -> None:
        log = self.open(segment_bytes=4096, spares=1)
        log.append(1, b"a")
        log.write()
        log.sync()
        [spare] = Path(self.folder).glob("*.spare")
        self.assertGreaterEqual(spare.stat().st_size, 4096)
        log.roll()
        log.append(1, b"b")
        log.write()
        self.assertEqual(list(Path(self.folder).glob("*.spare")), [])
        log.sync()
        self.assertEqual(payloads(log), [b"a", b"b"])

    def test_discard_leaves_nothing_to_read(self) -> None:
        log = self.open()
        log.append(1, b"a")
        log.write()
        log.sync()
        log.discard()
        self.assertEqual(os.listdir(self.folder), ["lock"])
