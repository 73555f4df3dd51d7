"""Frames of samples between shards: read back, cut anywhere, damaged, twice."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import Frames, frame
from cadtwist.codec.shardframe import MOST_FRAME_BYTES, ShardCodec, ShardEncoder
from cadtwist.journal.seen import Seen
from cadtwist.kernels import active
from cadtwist.model.badinput import BadInput
from cadtwist.model.summary import SummaryBatch

CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
Row = tuple[bytes, float, float, float, float, float, float]


class ShardFrameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.theirs, self.ours = active.table.MetricTable(1), active.table.MetricTable(2)
        self.encoder = ShardEncoder(self.theirs, b"o" * 16)
        self.rows: list[Row] = []
        self.bad: dict[str, int] = {}
        self.again = 0
        self.codec = ShardCodec(self.ours, self.keep, Seen(), self.twice)

    def keep(self, batch: SummaryBatch) -> None:
        columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
        self.rows += list(zip(self.ours.names(batch.ids), *(column.tolist() for column in columns), strict=True))

    def twice(self, samples: int) -> None:
        self.again += samples

    def wrong(self, bad: BadInput, items: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + items

    def encode(self, rows: list[Row]) -> list[tuple[bytes, int]]:
        ids = np.array([self.theirs.intern(row[0], 5) for row in rows], np.uint32)
        columns = [np.array([row[n] for row in rows], np.float64) for n in range(1, 7)]
        return self.encoder.encode(SummaryBatch(ids, *columns))

    def feed(self, data: bytes, frames: Frames | None = None) -> None:
        self.codec.feed(frames or Frames(MOST_FRAME_BYTES), data, 5.0, self.wrong)

    def some(self, n: int = 30) -> list[Row]:
        rng = random.Random(n)
        return [(b"*a.b%d" % rng.randrange(9), float(i), 1.0, i / 7, i * 0.1, -i / 3, i / 3) for i in range(n)]

    def test_exactly_what_was_sent_comes(self) -> None:
        rows = [*self.some(), (b"Name^x", 1.5, 2.0, float("inf"), 1e300, -0.0, 5e-324)]
        ((data, samples),) = self.encode(rows)
        self.feed(data)
        self.assertEqual((self.rows, samples, self.bad), (rows, 31, {}))

    def test_byte_by_byte_and_split_at_random(self) -> None:
        data = b"".join(self.encode(self.some(n))[0][0] for n in (5, 1, 17))
        expected = self.some(5) + self.some(1) + self.some(17)
        frames = Frames(MOST_FRAME_BYTES)
        for at in range(len(data)):
            self.feed(data[at : at + 1], frames)
        self.assertEqual(self.rows, expected)
        for seed in range(20):
            self.codec, self.rows = ShardCodec(self.ours, self.keep, Seen(), self.twice), []
            frames = Frames(MOST_FRAME_BYTES)
            cuts = sorted(random.Random(seed).randrange(len(data)) for _ in range(6))
            for start, end in pairwise([0, *cuts, len(data)]):
                self.feed(data[start:end], frames)
            self.assertEqual(self.rows, expected, seed)

    def test_what_comes_twice_counts_once(self) -> None:
        ((data, _),) = self.encode(self.some(4))
        self.feed(data + data)
        self.feed(data)
        self.assertEqual((len(self.rows), self.again), (4, 8))
        self.feed(self.encode(self.some(4))[0][0])
        self.assertEqual((len(self.rows), self.again), (8, 8))

    def test_long_names_are_parted(self) -> None:
        rows = [(b"%05d" % n + b"x" * 3000, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(1500)]
        sent = self.encode(rows)
        self.assertGreater(len(sent), 1)
        self.assertTrue(all(len(data) < MOST_FRAME_BYTES for data, _ in sent))
        for data, _ in sent:
            self.feed(data)
        self.assertEqual(self.rows, rows)

    def test_damaged_frames_cost_only_themselves(self) -> None:
        ((data, _),) = self.encode(self.some(3))
        payload = data[4:]
        wrong = [payload[:-1], payload + b"x", payload[:20], b"", b"\2" + payload[1:], payload[:-1] + b"!"]
        for at in (8, 12, 16, 44, 48, len(payload) - 8 * 6 * 3 - 4):
            body = payload[8:at] + b"\xff\xff\xff\x7f" + payload[at + 4 :]
            wrong.append(payload[:4] + zlib.crc32(body).to_bytes(4, "little") + body)
        ((good, _),) = self.encode(self.some(2))
        self.feed(b"".join(map(frame, wrong)) + good)
        self.assertEqual(self.rows, self.some(2))
        self.assertEqual(list(self.bad), ["frame"])
        self.assertGreaterEqual(self.bad["frame"], len(wrong))

    def test_a_frame_longer_than_allowed_loses_the_framing(self) -> None:
        frames = Frames(MOST_FRAME_BYTES)
        self.feed((MOST_FRAME_BYTES + 1).to_bytes(4, "big"), frames)
        self.assertTrue(frames.lost)
        self.assertEqual(self.bad, {"frame": 1})

    @CALM
    @given(st.binary(max_size=300))
    def test_whatever_comes_is_read_or_refused(self, noise: bytes) -> None:
        ((data, _),) = self.encode(self.some(2))
        self.feed(frame(noise) + frame(data[4:100] + noise))
        self.assertEqual(self.codec.pending, 0)
