"""Hostile replicas, masters and shards: nothing raises unforeseen, nothing is written outside, good frames arrive."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np

from cadtwist.codec.frames import Frames, frame
from cadtwist.codec.replica import (
    Folder,
    FoundFile,
    Kind,
    Pages,
    Pdus,
    ReplicaError,
    StatNames,
    Sums,
    ask_folder,
    ask_pages,
    ask_sums,
    pack_headers,
    pack_names,
    pack_samples,
    pdu,
    read_ask_folder,
    read_ask_pages,
    read_ask_sums,
    unpack_headers,
    unpack_ids,
    unpack_samples,
)
from cadtwist.codec.shardframe import MOST_FRAME_BYTES, ShardCodec, ShardEncoder
from cadtwist.journal.seen import Seen
from cadtwist.kernels import active
from cadtwist.kernels.statformat import HEADER_BYTES, new_header
from cadtwist.model.summary import SummaryBatch
from cadtwist.storage.replicafiles import ReplicaFiles, checked_redo
from tests.fuzz.fuzzing import CASES, Fuzzing


def batch_of(ids: list[int], value: float) -> SummaryBatch:
    column = np.full(len(ids), value)
    return SummaryBatch(np.array(ids, np.uint32), column, column, column, column, column, column)


class ShardFuzz(Fuzzing):
    def test_frames(self) -> None:
        theirs, ours = active.table.MetricTable(1), active.table.MetricTable(2, 1 << 20)
        ids = [theirs.intern(b"good.%d" % number, 1) for number in range(4)]
        encoder = ShardEncoder(theirs, b"o" * 16)
        arrived: list[float] = []
        codec = ShardCodec(ours, lambda batch: arrived.extend(batch.sums.tolist()), Seen(), lambda _: None)
        for case in range(int(CASES * 0.1)):
            arrived.clear()
            frames = Frames(MOST_FRAME_BYTES)
            (first, _), (last, _) = (encoder.encode(batch_of(ids, float(case)))[0] for _ in range(2))
            damaged = frame(self.damaged(encoder.encode(batch_of(ids, -1.0))[0][0][4:]))
            for part in self.cut(first + damaged + last):
                codec.feed(frames, part, 5.0, lambda _bad, _items: None)
            self.assertEqual([value for value in arrived if value == case][:8], [float(case)] * 8)
            self.assertFalse(frames.lost)


class ReplicaFuzz(Fuzzing):
    def messages(self) -> list[tuple[Any, bytes]]:
        """Return who reads a message, and a good one."""
        names = pack_names(
            np.array([1, 2], np.uint32), b"a.bccc", np.array([0, 3, 6], np.uint32), np.array([True, False])
        )
        header = new_header(b"/x", 10, 600, 0, 100).pack()
        return [
            (StatNames.unpack, b"".join(names)),
            (unpack_samples, b"".join(pack_samples(batch_of([1, 2], 3.0)))),
            (unpack_ids, bytes(8)),
            (unpack_headers, pack_headers([(b"a/10s", header)] * 2)),
            (Folder.unpack, Folder([FoundFile(b"10s", 5, 6)], [b"x", b"y"], True).pack()),
            (Sums.unpack, Sums(1, 2, 3, [b"s" * 16] * 3).pack()),
            (Pages.unpack, Pages(1, 2, 3, [b"page", b""]).pack()),
            (read_ask_folder, ask_folder(b"a/b", b"c")),
            (read_ask_sums, ask_sums(b"a/b", 7)),
            (read_ask_pages, ask_pages(b"a/b", [1, 2])),
            (checked_redo, self.redo(b"a/b/10s", header)),
        ]

    @staticmethod
    def redo(path: bytes, header: bytes) -> bytes:
        data = header + struct.pack("<QI", 8192, 32) + b"c" * 32
        return struct.pack("<IHHI", 12 + len(path) + len(data), 0, len(path), 0) + path + data

    def test_messages(self) -> None:
        messages = self.messages()
        for read, good in messages:
            read(good)
        for _ in range(int(CASES * 0.2)):
            read, good = self.dice.choice(messages)
            try:
                read(self.damaged(good))
            except ReplicaError:
                continue

    def test_pdus(self) -> None:
        for case in range(int(CASES * 0.1)):
            pdus, found = Pdus(10_000), list[tuple[Kind, bytes]]()
            good = pdu(Kind.BEAT, b"%08d" % case)
            try:
                for part in self.cut(good + good + self.damaged(good) + good):
                    for one in pdus.feed(part):
                        found.append(one)
            except ReplicaError:
                pass
            self.assertEqual(found[:2], [(Kind.BEAT, b"%08d" % case)] * 2)

    def test_what_a_master_makes_us_write_stays_in_the_store(self) -> None:
        outer = os.path.abspath(self.mktemp())
        root = os.path.join(outer, "deep", "store")
        os.makedirs(root)
        files, header = ReplicaFiles(root, sparse=True), new_header(b"/x", 10, 600, 0, 100).pack()
        good = pack_headers([(b"a/b/10s", header)])
        for _ in range(int(CASES * 0.02)):
            data = self.damaged(good)
            try:
                files.make([pair for pair in unpack_headers(data) if len(pair[1]) == HEADER_BYTES])
            except (ReplicaError, OSError):
                continue
        self.assertEqual(os.listdir(outer), ["deep"])
        self.assertEqual(os.listdir(os.path.join(outer, "deep")), ["store"])
