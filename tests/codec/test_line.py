"""Tests of `cadtwist.codec.line`."""

from __future__ import annotations

import contextlib
import json
import os
import random
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.codec.line import LineCodec, Tail, lines_of_datagram
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput
from cadtwist.model.batch import Batch, Columns
from cadtwist.model.metricname import canonical
from tests.twins import native_twin, python_twin

NOW = 1_700_000_500.25
RECORDING = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon", "line_receiver.json")

KEPT_ALIVE = {
    "nan timestamp": {"t.n": [], "t.n2": [[1.7e9, 1.0]]},
    "inf timestamp": {"t.o": [], "t.o2": [[1.7e9, 1.0]]},
    "invalid utf-8": {"t.p2": [[1.7e9, 1.0]]},
    "line of 16385 bytes closes": {"t.r2": [[1.7e9, 1.0]]},
    "UDP: invalid utf-8 drops the whole datagram": {"u.e": [[1.7e9, 1.0]]},
    "UDP: inf timestamp: rest of datagram lost": {"u.h": [], "u.i": [[1.7e9, 2.0]]},
    "plain LF": {"t.a": [[1.7e9, 1.0]]},  # already written when it was asked: the point had been accepted
    "timestamp -1 = now (float time)": {"t.f": [[NOW, 1.0]]},
    "timestamp -1.9 = now too (int() truncates)": {"t.t": [[NOW, 1.0]]},
}
"""Where the recorded daemon closed the connection or lost good lines with a bad one, or its clock was asked."""


class Reader:
    """A codec and all that comes out of it."""

    def __init__(self, kernel: ModuleType, rows: int = 50, spans: bool = False, **options: Any) -> None:
        self.table = kernel.MetricTable(11)
        self.points: list[tuple[str, float, float]] = []
        self.raw: list[bytes] = []
        self.sizes: list[int] = []
        self.bad: dict[str, int] = {}
        self.excerpts: list[bytes] = []
        self.codec = LineCodec(self.table, Columns(rows, spans), self.take, kernel=kernel, **options)
        self.tail = Tail()

    def take(self, batch: Batch) -> None:
        names = [name.decode() for name in self.table.names(batch.ids)]
        self.points += zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True)
        self.sizes.append(len(batch))
        if batch.spans is not None:
            self.raw += [batch.spans.data[start:end] for start, _, end in batch.spans.table.tolist()]

    def wrong(self, bad: BadInput, lines: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + lines
        self.excerpts.append(bad.excerpt)

    def feed(self, *chunks: bytes) -> Reader:
        for chunk in chunks:
            self.codec.feed(self.tail, chunk, NOW, self.wrong)
        self.codec.flush()
        return self

    def datagram(self, data: bytes) -> Reader:
        self.codec.datagram(data, NOW, self.wrong)
        self.codec.flush()
        return self


def cached(points: list[tuple[str, float, float]], name: str) -> list[list[float]]:
    """Return what a cache would hold of a metric: tags normalised, the last value of a time."""
    found: dict[float, float] = {}
    for metric, timestamp, value in points:
        with contextlib.suppress(ValueError):
            metric = canonical(metric)
        if metric == name:
            found[timestamp] = value
    return [list(point) for point in found.items()]


def sent(test: dict[str, Any]) -> bytes:
    """Return the bytes of a recorded test; the two longest are described only."""
    if "sent_hex" in test:
        return bytes.fromhex(test["sent_hex"])
    if test["sent_len"] == 16385:
        return b"x" * 16371 + b" 1 1700000000\n"
    return b"y" * 16372 + b" 1 1700000000\nt.r2 1 1700000000\n"


class LineContract:
    kernel: ModuleType

    def test_does_what_carbon_was_recorded_to_do(self) -> None:
        with open(RECORDING, encoding="utf-8") as file:
            tests = json.load(file)["tests"]
        self.assertGreater(len(tests), 35)
        for test in tests:
            reader, data = Reader(self.kernel), sent(test)
            if test["desc"].startswith("UDP"):
                reader.datagram(data)
            else:
                reader.feed(data)
            for name, points in KEPT_ALIVE.get(test["desc"].partition(" (already")[0], test["cached"]).items():
                name = "x" * 16371 if "16371" in name else name
                wanted = [[when, float(value)] for when, value in points]
                self.assertEqual(sorted(cached(reader.points, name)), sorted(wanted), test["desc"])

    def test_reads_the_same_however_bytes_are_cut(self) -> None:
        chosen = random.Random(5)
        lines = [b"m.%d %d %d" % (chosen.randint(0, 99), i, 1_700_000_000 + i) for i in range(300)]
        for at in range(0, 300, 7):
            lines[at] = chosen.choice([b"", b"bad line", b"m 1 \xff", b"z" * 200, b" m 1 2 \r"])
        data = b"\n".join(lines) + b"\nincomplete 1"
        whole = Reader(self.kernel, max_line=120).feed(data)
        self.assertGreater(len(whole.points), 250)
        self.assertEqual(whole.bad["too_long"], lines.count(b"z" * 200))
        for size in (1, 2, 3, 80, 119, 120, 121, 500):
            cut = [data[at : at + size] for at in range(0, len(data), size)]
            parts = Reader(self.kernel, max_line=120).feed(*cut)
            self.assertEqual((parts.points, parts.bad), (whole.points, whole.bad))
            self.assertEqual(len(parts.tail), len(b"incomplete 1"))

    def test_skips_a_line_that_is_too_long_and_keeps_its_neighbours(self) -> None:
        long = b"x" * 5000
        for chunks in (
            [b"a 1 1\n" + long + b"\nb 1 1\n"],
            [b"a 1 1\n" + long[:100], long[100:], b"x\nb 1 1\n"],
            [b"a 1 1\n", long, long, long + b"\n", b"b 1 1\n"],
            [b"a 1 1\n", *[b"x"] * 5000, b"\n", b"b 1 1\n"],
        ):
            reader = Reader(self.kernel, max_line=100).feed(*chunks)
            self.assertEqual([name for name, _, _ in reader.points], ["a", "b"])
            self.assertEqual((reader.bad, reader.excerpts), ({"too_long": 1}, [b"x" * EXCERPT_BYTES]))
            self.assertEqual((len(reader.tail), reader.tail.skipping), (0, False))

    def test_takes_a_line_of_exactly_the_limit(self) -> None:
        line = b"n" * 96 + b" 1 1"
        for chunks in ([line + b"\n"], [line, b"\n"], [line[:50], line[50:] + b"\n"]):
            reader = Reader(self.kernel, max_line=100).feed(*chunks)
            self.assertEqual((len(reader.points), reader.bad), (1, {}))
            reader = Reader(self.kernel, max_line=99).feed(*chunks)
            self.assertEqual((len(reader.points), reader.bad), (0, {"too_long": 1}))

    def test_keeps_a_bounded_tail(self) -> None:
        reader = Reader(self.kernel, max_line=100)
        for _ in range(500):
            reader.feed(b"y" * 33)
            self.assertLessEqual(len(reader.tail), 100)
        self.assertEqual(reader.bad, {"too_long": 1})

    def test_many_reads_share_one_batch(self) -> None:
        reader = Reader(self.kernel)
        tails = [Tail() for _ in range(20)]
        for number, tail in enumerate(tails):
            reader.codec.feed(tail, b"a 1 1\nb 2 2\nc%d" % number, NOW, reader.wrong)
        self.assertEqual((reader.sizes, reader.codec.pending), ([], 40))
        for tail in tails:
            reader.codec.feed(tail, b" 3 3\n", NOW, reader.wrong)
        self.assertEqual((reader.sizes, reader.codec.pending), ([50], 10))
        reader.codec.flush()
        reader.codec.flush()
        self.assertEqual((reader.sizes, len(reader.points)), ([50, 10], 60))

    def test_hands_on_raw_lines_where_asked(self) -> None:
        reader = Reader(self.kernel, rows=3, spans=True)
        reader.feed(b"a 1 1\r\nb 2", b" 2\nbad\nc 3 3\nd 4 4\n")
        self.assertEqual(reader.raw, [b"a 1 1\r", b"b 2 2", b"c 3 3", b"d 4 4"])

    def test_counts_floods_of_bad_lines_in_few_reports(self) -> None:
        reader = Reader(self.kernel).feed(b"\n" * 20_000 + b"a 1 1\n")
        self.assertEqual((reader.bad, len(reader.points)), ({"empty": 20_000}, 1))
        self.assertLess(len(reader.excerpts), 100)

    def test_every_break_of_splitlines_ends_a_line_of_a_datagram(self) -> None:
        for separator in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"):
            data = f"a 1 1{separator}\u00e9 2 2{separator}c 3 3".encode()
            reader = Reader(self.kernel).datagram(data)
            self.assertEqual([name for name, _, _ in reader.points], ["a", "\u00e9", "c"], repr(separator))
            self.assertEqual(reader.bad, {})

    def test_a_failing_sink_gives_no_row_twice(self) -> None:
        reader = Reader(self.kernel)

        def fail(batch: Batch) -> None:
            raise RuntimeError("sink")

        codec = LineCodec(reader.table, Columns(4), fail, kernel=self.kernel)
        codec.feed(Tail(), b"a 1 1\n", NOW, reader.wrong)
        with self.assertRaises(RuntimeError):
            codec.flush()
        self.assertEqual(codec.pending, 0)


class PythonLineTests(LineContract, unittest.SynchronousTestCase):
    kernel = python_twin("table")


class NativeLineTests(LineContract, unittest.SynchronousTestCase):
    kernel = native_twin("table")  # type: ignore[assignment]
    if kernel is None:
        skip = "the native twin is not built"


class HostileTests(unittest.SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None, print_blob=True)
    @given(st.lists(st.binary(max_size=80), max_size=30), st.integers(1, 60))
    def test_good_lines_among_garbage_all_arrive(self, garbage: list[bytes], limit: int) -> None:
        for kernel in (python_twin("table"), native_twin("table")):
            if kernel is None:
                continue
            reader = Reader(kernel, max_line=limit + 10)
            for number, junk in enumerate(garbage):
                reader.feed(junk, b"\n", b"good.%d 1 1\n" % number)
            names = {name for name, _, _ in reader.points}
            self.assertLessEqual({f"good.{number}" for number in range(len(garbage))} if limit > 3 else set(), names)

    @settings(max_examples=150, deadline=None, database=None, print_blob=True)
    @given(st.text("a1 \n\r\x0b\x1c\x1e\u2028\x85\u00e9", max_size=60))
    def test_a_datagram_splits_as_splitlines_does(self, text: str) -> None:
        lines = lines_of_datagram(text.encode()).decode().split("\n")[:-1]
        self.assertEqual(lines, text.splitlines())
