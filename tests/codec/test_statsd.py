"""Tests of `cadtwist.codec.statsd`: whole, byte by byte, cut at random, with garbage between."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.statsd import RecordTail, StatsdCodec, StatsdColumns, StatsiteCodec
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import SANITISE
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch
from tests.kernels.test_statsdparse import record

NOW = 1_700_000_500.5


class Reader:
    """A codec and all that comes out of it."""

    def __init__(self, statsite: bool = False, rows: int = 20, **options: Any) -> None:
        self.table = active.table.MetricTable(11)
        columns = StatsdColumns(rows)
        self.codec = (
            StatsiteCodec(self.table, columns, self.take, **options)
            if statsite
            else StatsdCodec(self.table, columns, self.take, SANITISE, **options)
        )
        self.points: list[tuple[str, float, float]] = []
        self.times: set[float] = set()
        self.bad: dict[str, int] = {}
        self.tail = RecordTail()

    def take(self, batch: Batch) -> None:
        assert batch.weights is not None
        names = [name.decode() for name in self.table.names(batch.ids)]
        self.points += zip(names, batch.values.tolist(), batch.weights.tolist(), strict=True)
        self.times.update(batch.timestamps.tolist())

    def wrong(self, bad: BadInput, items: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + items

    def feed(self, *chunks: bytes) -> Reader:
        for chunk in chunks:
            self.codec.feed(self.tail, chunk, NOW, self.wrong)
        self.codec.flush()
        return self

    def datagram(self, *datagrams: bytes) -> Reader:
        """Read datagrams, joined as a socket's reader does."""
        joined = [data if data.endswith(b"\n") else data + b"\n" for data in datagrams]
        ends = list(accumulate(map(len, joined)))
        after = (lambda at: next(end for end in ends if end > at)) if len(ends) > 1 else None
        self.codec.datagram(b"".join(joined), NOW, self.wrong, after)
        self.codec.flush()
        return self

    @property
    def told(self) -> Any:
        return self.points, self.bad, self.codec.lines, self.codec.wrong


LINES = b"a:1|c\nb.c:2|ms|@0.5\n\nbad\ng:-4|g\n" + b"m" + b":1|c" * 45 + b"\nlong" + b"x" * 300 + b":1|c\nz:9|c\n"


class StatsdCodecTests(SynchronousTestCase):
    def test_a_datagram_needs_no_last_line_feed(self) -> None:
        reader = Reader().datagram(b"a:1|c\nb:2|ms\n\nc:3|g")
        self.assertEqual([name for name, _, _ in reader.points], ["a|c", "b|ms", "c|g"])
        self.assertEqual((reader.codec.packets, reader.codec.lines, reader.times), (1, 3, {NOW}))
        self.assertEqual(reader.datagram(b"a:1|c\nb:1|c\n").codec.packets, 2)

    def test_carriage_returns_are_no_separators(self) -> None:
        self.assertEqual(Reader().datagram(b"a:1|c\r\nb:2\r|c").points, [("a|c", 1.0, 1.0), ("b|c", 2.0, 1.0)])

    def test_a_stream_keeps_the_line_that_is_not_complete(self) -> None:
        reader = Reader().feed(b"a:1|c\nb:2|c\nc:3", b"|c\nd:4|c")
        self.assertEqual([name for name, _, _ in reader.points], ["a|c", "b|c", "c|c"])
        self.assertEqual((reader.codec.packets, reader.codec.lines), (2, 3))
        self.assertEqual(reader.tail.unread(), (b"d:4|c", False))

    def test_however_it_is_cut(self) -> None:
        whole = Reader(max_line=200).feed(LINES).told
        self.assertEqual((len(whole[0]), whole[1], whole[3]), (49, {"fields": 1, "too_long": 1}, 1))
        self.assertEqual(Reader(max_line=200).feed(*[LINES[i : i + 1] for i in range(len(LINES))]).told, whole)
        for seed in range(30):
            cuts = sorted(random.Random(seed).sample(range(len(LINES)), 8))
            chunks = [LINES[a:b] for a, b in zip([0, *cuts], [*cuts, len(LINES)], strict=True)]
            self.assertEqual(Reader(max_line=200).feed(*chunks).told, whole)

    def test_columns_are_emitted_when_full(self) -> None:
        reader = Reader(rows=3)
        reader.codec.feed(reader.tail, b"a:1|c\n" * 7, NOW, reader.wrong)
        self.assertEqual((len(reader.points), reader.codec.pending), (6, 1))


class StatsiteCodecTests(SynchronousTestCase):
    def test_lines_and_records_mixed(self) -> None:
        data = b"a:1|c\n" + record(2, "b", 2.0) + record(4, "st", "x") + b"\nc:3|c\n" + record(1, "k", 4.0) + b"d:5|c\n"
        whole = Reader(True).feed(data)
        self.assertEqual([name for name, _, _ in whole.points], ["a|c", "b|c", "st|s", "c|c", "k|kv", "d|c"])
        self.assertEqual(Reader(True).feed(*[data[i : i + 1] for i in range(len(data))]).told, whole.told)
        for seed in range(30):
            cuts = sorted(random.Random(seed).sample(range(len(data)), 5))
            chunks = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            self.assertEqual(Reader(True).feed(*chunks).told, whole.told)
        self.assertEqual(Reader(True).datagram(data).points, whole.points)

    def test_a_faulty_record_ends_a_stream(self) -> None:
        reader = Reader(True).feed(record(2, "b", 2.0) + b"\xaa\x09" + bytes(20), b"a:1|c\n")
        self.assertEqual((reader.points, reader.bad, reader.tail.lost), ([("b|c", 2.0, 1.0)], {"frame": 1}, True))

    def test_a_faulty_record_costs_no_other_datagram(self) -> None:
        b, c = record(2, "b", 2.0), record(2, "c", 3.0)
        reader = Reader(True).datagram(b + b"\xaa\x09", b"a:1|c\n", b[:9], c + b"\nz:1|c", c[:-1] + b"x" + c, b"y:1|c")
        self.assertEqual([name for name, _, _ in reader.points], ["b|c", "a|c", "c|c", "z|c", "y|c"])
        self.assertEqual((reader.bad, reader.codec.packets), ({"frame": 3}, 0))

    def test_any_bytes(self) -> None:
        pieces = st.one_of(st.binary(max_size=30), st.just(b"\xaa\x02"), st.just(record(2, "b", 1.0)))

        @settings(max_examples=200, deadline=None)
        @given(st.lists(pieces, max_size=9))
        def survives(chunks: list[bytes]) -> None:
            reader = Reader(True).feed(*chunks)
            self.assertTrue(reader.tail.lost or len(reader.tail) < 200000)
            data = b"".join(chunks)
            self.assertEqual(Reader(True).datagram(data, b"ok:1|c\n").points[-1:], [("ok|c", 1.0, 1.0)])

        survives()
