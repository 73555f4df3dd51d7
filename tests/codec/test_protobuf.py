"""Carbon's protobuf messages, by hand."""

from __future__ import annotations

import contextlib
import math
import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import Frames, frame
from cadtwist.codec.protobuf import ProtobufCodec, decode_payload, encode_payload
from cadtwist.codec.protowire import WireError
from cadtwist.kernels import active
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns

EXAMPLE = bytes.fromhex("0000001b0a190a06706172616d31120f08d8eefda605119a99999999194e40")
"""A frame as carbon's client writes it."""


class ProtobufTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(1)
        self.found: list[tuple[bytes, float, float]] = []
        self.bad: list[tuple[str, int]] = []
        self.codec = ProtobufCodec(self.table, Columns(4), self.accept)
        self.frames = Frames(1 << 20)

    def accept(self, batch: Batch) -> None:
        self.found += zip(self.table.names(batch.ids), batch.timestamps.tolist(), batch.values.tolist(), strict=True)

    def feed(self, data: bytes) -> None:
        self.codec.feed(self.frames, data, 1e9, lambda bad, items: self.bad.append((bad.kind, items)))
        self.codec.flush()

    def test_the_recorded_example(self) -> None:
        self.feed(EXAMPLE)
        self.assertEqual(self.found, [(b"param1", 1423931224.0, 60.2)])
        self.assertEqual(frame(encode_payload([(b"param1", [(1423931224, 60.2)])])), EXAMPLE)

    def test_round_trip(self) -> None:
        stamps = st.integers(0, (1 << 32) - 1).map(float)
        metrics = st.lists(
            st.tuples(st.binary(max_size=200), st.lists(st.tuples(stamps, st.floats(allow_nan=False)), max_size=5)),
            max_size=6,
        )

        @settings(max_examples=100, deadline=None, database=None)
        @given(metrics)
        def check(value: list[tuple[bytes, list[tuple[float, float]]]]) -> None:
            self.assertEqual(decode_payload(encode_payload(value)), value)

        check()

    def test_unknown_fields_are_skipped(self) -> None:
        point = b"\x08\x05" + b"\x11" + struct.pack("<d", 2.0) + b"\x18\x07" + b"\x25abcd"
        metric = b"\x0a\x01a" + b"\x12" + bytes([len(point)]) + point + b"\x7a\x02zz" + b"\x1b\x08\x01\x1c"
        payload = b"\x0a" + bytes([len(metric)]) + metric + b"\x10\x05"
        self.assertEqual(decode_payload(payload), [(b"a", [(5.0, 2.0)])])

    def test_broken_messages_cost_themselves(self) -> None:
        good = encode_payload([(b"ok", [(1, 2.0)])])
        for broken in (
            b"\x0a\x05a",
            b"\xff" * 12,
            b"\x00",
            b"\x0b",
            b"\x0c",
            b"\x0e",
            b"\x09abc",
            b"\x0a\xff\xff\xff\xff\x0f",
        ):
            with self.assertRaises(WireError):
                decode_payload(broken)
            self.found, self.bad = [], []
            self.feed(frame(good) + frame(broken) + frame(good))
            self.assertEqual(self.found, [(b"ok", 1.0, 2.0)] * 2)
            self.assertEqual(self.bad, [("frame", 1)])

    def test_bad_metrics_cost_themselves(self) -> None:
        self.feed(
            frame(
                encode_payload(
                    [
                        (b"", [(1, 1.0), (2, 2.0)]),
                        (b"\xff", [(1, 1.0)]),
                        (b"n", [(1, math.nan), (2, 2.0)]),
                        (b"empty", []),
                        (b"many", [(i, 1.0) for i in range(10)]),
                    ]
                )
            )
        )
        self.assertEqual(self.found, [(b"n", 2.0, 2.0), *((b"many", float(i), 1.0) for i in range(10))])
        self.assertEqual(self.bad, [("name", 2), ("encoding", 1), ("nan", 1)])

    def test_random_bytes_raise_nothing_else(self) -> None:
        dice = random.Random(11)
        for _ in range(2000):
            with contextlib.suppress(WireError):
                decode_payload(dice.randbytes(dice.randrange(40)))

    def test_excerpts_are_short(self) -> None:
        seen: list[BadInput] = []
        self.codec.feed(
            self.frames, frame(encode_payload([(b"\xff" * 5000, [(1, 1.0)])])), 1e9, lambda bad, _: seen.append(bad)
        )
        self.assertEqual([len(bad.excerpt) for bad in seen], [80])
