"""Tests of `cadtwist.codec.istat`."""

from __future__ import annotations

import itertools
import random
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.codec.istat import StatCodec, StatTail, cell_lines, expanded, greeting, number_text, read_meta
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput
from cadtwist.model.summary import SummaryBatch, SummaryColumns
from tests.twins import native_twin, python_twin

NOW = 1325395000.5


class Reader:
    """A codec and all that comes out of it, in order."""

    def __init__(self, kernel: ModuleType, tables: ModuleType, rows: int = 50, **options: Any) -> None:
        self.table = tables.MetricTable(11)
        self.said: list[Any] = []
        self.bad: dict[str, int] = {}
        self.excerpts: list[bytes] = []
        self.refuse_after = b""
        self.tail = StatTail()
        self.codec = StatCodec(self.table, SummaryColumns(rows), self.take, self.about, kernel=kernel, **options)

    def take(self, batch: SummaryBatch) -> None:
        names = self.table.names(batch.ids)
        self.said += zip(names, batch.timestamps.tolist(), batch.sums.tolist(), strict=True)

    def about(self, tail: StatTail, line: bytes) -> None:
        self.said.append(line)
        tail.refused = line == self.refuse_after

    def wrong(self, bad: BadInput, lines: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + lines
        self.excerpts.append(bad.excerpt)

    def feed(self, *chunks: bytes) -> Reader:
        for chunk in chunks:
            self.codec.feed(self.tail, chunk, NOW, self.wrong)
        self.codec.flush()
        return self

    def datagram(self, data: bytes) -> Reader:
        self.codec.datagram(self.tail, data, NOW, self.wrong)
        self.codec.flush()
        return self


STREAM = (
    b"#hostname web1\r\na 1325395000 1\r\n*b^c^d 2\n\n  # odd one \nbad\na^b^c 1 2 3\n"
    + b"x" * 200 + b" 1\n#nospace\n7f 1 2 3 4 5 6\n@later\nlast 1"
)  # fmt: skip


class StatCodecContract:
    kernel: ModuleType
    tables: ModuleType

    def reader(self, **options: Any) -> Reader:
        return Reader(self.kernel, self.tables, **options)

    def test_reads_a_stream(self) -> None:
        reader = self.reader(max_line=100).feed(STREAM)
        self.assertEqual(
            reader.said,
            [
                b"#hostname web1\r", (b"a", NOW - 0.5, 1.0), (b"*b^c^d", NOW - 0.5, 2.0), b"  # odd one ",
                b"#nospace", (b"7f", 1.0, 2.0),
            ],
        )  # fmt: skip
        self.assertEqual(reader.bad, {"fields": 4, "too_long": 1, "reserved": 1})
        self.assertEqual(reader.tail.info, {"hostname": "web1", "": "odd one"})
        self.assertEqual(bytes(reader.tail.held or b""), b"last 1")

    def test_however_it_is_cut(self) -> None:
        whole = self.reader(max_line=100).feed(STREAM)
        chance = random.Random(4)
        cuts = [sorted(chance.sample(range(len(STREAM)), 9)) for _ in range(30)]
        for points in [*cuts, list(range(1, len(STREAM)))]:
            edges = [0, *points, len(STREAM)]
            cut = self.reader(max_line=100).feed(*(STREAM[a:b] for a, b in itertools.pairwise(edges)))
            self.assertEqual((cut.said, cut.bad), (whole.said, whole.bad))

    def test_keeps_no_more_than_a_line(self) -> None:
        reader = self.reader(max_line=100)
        for _ in range(10):
            reader.feed(b"y" * 60)
            self.assertLessEqual(len(reader.tail), 120)
        reader.feed(b" 5\ngood 1\n")
        self.assertEqual((reader.bad, [row[0] for row in reader.said]), ({"too_long": 1}, [b"good"]))

    def test_full_columns_are_emitted(self) -> None:
        reader = self.reader(rows=3).feed(b"".join(b"m%d 1\n" % n for n in range(10)))
        self.assertEqual([row[0] for row in reader.said], [b"m%d" % n for n in range(10)])
        self.assertEqual(reader.codec.pending, 0)

    def test_a_refused_connection_is_read_no_more(self) -> None:
        reader = self.reader()
        reader.refuse_after = b"#hostname evil"
        reader.feed(b"a 1\n#hostname evil\nb 1\nc 1", b"d 1\n")
        self.assertEqual(reader.said, [(b"a", NOW - 0.5, 1.0), b"#hostname evil"])
        self.assertIsNone(reader.tail.held)

    def test_a_connection_may_say_only_so_much(self) -> None:
        reader = self.reader().feed(b"".join(b"#key%d value\n" % n for n in range(500)), b"#key1 other\n")
        self.assertEqual((len(reader.tail.info), reader.tail.info["key1"]), (64, "other"))

    def test_datagrams_end_with_a_line(self) -> None:
        reader = self.reader()
        reader.datagram(b"a 1\nb 2\n").datagram(b"a 1\nb 2").datagram(b"a 1\n").datagram(b"").datagram(b"\n\nab 3\n")
        self.assertEqual([row[0] for row in reader.said], [b"a", b"b", b"ab"])
        self.assertEqual(reader.bad, {"frame": 3})

    def test_wrong_fields_count_for_every_counter_meant(self) -> None:
        reader = self.reader().feed(b"a^b^c^d 1 2 3\nb\nc^ 1 2 3 4\n")
        self.assertEqual((reader.bad, reader.excerpts), ({"fields": 5}, [b"a^b^c^d 1 2 3"]))

    def test_excerpts_are_short(self) -> None:
        reader = self.reader().feed(b"z" * 300 + b"\n#" + b"y" * 300 + b"\n")
        self.assertEqual([len(text) for text in reader.excerpts], [EXCERPT_BYTES] * 2)


class NativeStatCodecTests(StatCodecContract, unittest.SynchronousTestCase):
    kernel = native_twin("statlines")  # type: ignore[assignment]
    tables = native_twin("table")  # type: ignore[assignment]
    skip = None if kernel else "the native kernel is not built"


class PythonStatCodecTests(StatCodecContract, unittest.SynchronousTestCase):
    kernel = python_twin("statlines")
    tables = python_twin("table")


class TwinComparison(unittest.SynchronousTestCase):
    skip = None if native_twin("statlines") else "the native kernel is not built"

    @given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([STREAM[:60], b"#a b\n"])), max_size=6))
    def test_both_twins_make_the_same_of_anything(self, chunks: list[bytes]) -> None:
        found = []
        for twin in (native_twin, python_twin):
            kernel, tables = twin("statlines"), twin("table")
            assert kernel is not None
            assert tables is not None
            reader = Reader(kernel, tables, rows=2, max_line=30).feed(*chunks)
            self.assertLessEqual(len(reader.tail), 30)
            found.append((repr(reader.said), reader.bad, reader.tail.info))
        self.assertEqual(found[0], found[1])


class NameTests(unittest.SynchronousTestCase):
    def test_carets(self) -> None:
        for name, counters in (
            (b"plain.name", [b"plain.name"]),
            (b"cpu.idle^host.a^class.b^type.c", [b"cpu.idle.host.a", b"cpu.idle.class.b", b"cpu.idle.type.c"]),
            (b"cpu.idle^host.a^", [b"cpu.idle.host.a", b"cpu.idle"]),
            (b"foo^", [b"foo"]),
            (b"^a^b", [b"a", b"b"]),
            (b"^", []),
            (b"^^", []),
            (b"a^^b", [b"a.b"]),
            (b"a^^", [b"a"]),
            (b"*tep^x^y", [b"*tep.x", b"*tep.y"]),
            (b"*^a", [b"*.a"]),
        ):
            self.assertEqual(expanded(name), tuple(counters), name)

    def test_lines_about_the_connection(self) -> None:
        self.assertEqual(read_meta(b"#key  some value \r"), ("key", "some value"))
        self.assertEqual(read_meta(b"# x"), ("", "x"))
        self.assertIsNone(read_meta(b"#key"))
        self.assertEqual(read_meta(b"#\xff v"), ("\ufffd", "v"))


class EncodingTests(unittest.SynchronousTestCase):
    def test_numbers(self) -> None:
        values = [(1234567.891, "1234567.891", "1.23457e+06"), (3.0, "3", "3"), (0.1, "0.1", "0.1")]
        values += [(-2.5, "-2.5", "-2.5"), (1e300, "1e+300", "1e+300"), (float("inf"), "inf", "inf")]
        for value, full, short in values:
            self.assertEqual((number_text(value), number_text(value, short=True)), (full, short))

    def test_cells(self) -> None:
        column = np.array([5.0, 6.0])
        cells = SummaryBatch(np.array([0, 1], np.uint32), column, np.array([3.0, 1.0]), *[np.array([1.5, 1e7])] * 4)
        self.assertEqual(cell_lines([b"a", b"*e"], cells), [b"a 5 1.5 1.5 1.5 1.5 3\r\n", b"*e 6 10000000\r\n"])
        self.assertEqual(cell_lines([b"*e", b"A"], cells, short=True)[1], b"A 6 1e+07 1e+07 1e+07 1e+07 1\r\n")

    def test_greeting(self) -> None:
        self.assertEqual(greeting("web1", "1"), b"#proto x 1 1\r\n#version 1\r\n#hostname web1\r\n")
