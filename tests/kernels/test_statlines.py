"""Both twins of the statlines kernel: every form of a line, and random and hostile input compared."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.kernels import statline
from cadtwist.model.badinput import BAD_KINDS
from cadtwist.model.summary import SummaryColumns
from tests.twins import native_twin, python_twin

NOW = 1325395000.7


class Parsed:
    """What a twin made of some lines."""

    def __init__(self, kernel: ModuleType, tables: ModuleType, data: bytes, capacity: int = 100, max_bytes: int = 0):
        self.columns = columns = SummaryColumns(capacity)
        self.table = tables.MetricTable(1, max_bytes)
        self.bad: list[tuple[int, int, int]] = []
        self.at, columns.n, self.meta = kernel.parse_stats(
            self.table, data, 0, len(data), columns.ids, columns.timestamps, columns.counts, columns.sums,
            columns.sumsqs, columns.minima, columns.maxima, 0, NOW, self.bad,
        )  # fmt: skip

    def rows(self) -> list[tuple[Any, ...]]:
        """Return (name, time, count, sum, sumsq, low, high) of each row."""
        batch = self.columns.batch()
        columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        return [(self.table.name(i), *row) for i, row in zip(batch.ids.tolist(), numbers, strict=True)]

    def kinds(self) -> list[str]:
        """Return the kinds of bad lines."""
        return [BAD_KINDS[kind] for kind, _start, _stop in self.bad]


class StatLinesContract:
    kernel: ModuleType
    tables: ModuleType

    def parse(self, data: bytes, **options: Any) -> Parsed:
        return Parsed(self.kernel, self.tables, data, **options)

    def test_two_fields_are_a_value_now(self) -> None:
        self.assertEqual(self.parse(b"a.b 3\n").rows(), [(b"a.b", 1325395000.0, 1.0, 3.0, 9.0, 3.0, 3.0)])

    def test_three_fields_have_a_time(self) -> None:
        self.assertEqual(self.parse(b"*a -7 -0.5\n").rows(), [(b"*a", -7.0, 1.0, -0.5, 0.25, -0.5, -0.5)])

    def test_seven_fields_are_a_summary(self) -> None:
        rows = self.parse(b"a 5 30 350 5 15 3\nb 6 1 2 3 4 5 extra fields\n").rows()
        self.assertEqual(rows, [(b"a", 5.0, 3.0, 30.0, 350.0, 5.0, 15.0), (b"b", 6.0, 5.0, 1.0, 2.0, 3.0, 4.0)])

    def test_any_white_space_parts_fields(self) -> None:
        rows = self.parse(b" \ta\t5 \v 1\f\r\n  b 2\r\n").rows()
        self.assertEqual([row[:2] + row[3:4] for row in rows], [(b"a", 5.0, 1.0), (b"b", 1325395000.0, 2.0)])

    def test_names_keep_their_bytes(self) -> None:
        names = [row[0] for row in self.parse(b"A/\xff\xc3\xa9.b^c 1\n!bang 1\n").rows()]
        self.assertEqual(names, [b"A/\xff\xc3\xa9.b^c", b"!bang"])

    def test_counts_wrong_lines_by_kind(self) -> None:
        data = (
            b"alone\na 1 2 3\na 1 2 3 4\na 1 2 3 4 5\n"
            b"a x\na 1_0\na 0x10\na 1e999\na --1\na 1 2 3 4 5 x\na 1 2 3 4 5 1.5\n"
            b"a 1.5 2\na 9223372036854775808 1\na 1e5 1\n"
            b"@a 1\n$a\n%a\n&a\n;a\n:a\n"
            b"* 1\n"
        )
        parsed = self.parse(data)
        expected = ["fields"] * 4 + ["value"] * 7 + ["timestamp"] * 3 + ["reserved"] * 6 + ["name"]
        self.assertEqual((parsed.kinds(), parsed.rows(), parsed.at), (expected, [], len(data)))
        _kind, start, stop = parsed.bad[1]
        self.assertEqual(data[start:stop], b"a 1 2 3")

    def test_empty_lines_are_nothing(self) -> None:
        parsed = self.parse(b"\n\r\n   \n\na 1\n")
        self.assertEqual((len(parsed.rows()), parsed.bad), (1, []))

    def test_numbers(self) -> None:
        for text, value in (
            (b"1", 1.0), (b"+1.", 1.0), (b".5", 0.5), (b"-1e3", -1000.0), (b"1E-2", 0.01), (b"0.1", 0.1),
            (b"123456789012345678901234567890", 123456789012345678901234567890.0), (b"1e-999", 0.0),
            (b"inf", math.inf), (b"-Infinity", -math.inf), (b"nan", 0.0), (b"NaN", 0.0), (b"-nan", 0.0),
        ):  # fmt: skip
            self.assertEqual([row[3] for row in self.parse(b"a " + text + b"\n").rows()], [value], text)
        self.assertTrue(math.isnan(self.parse(b"a NAN\n").rows()[0][3]))

    def test_whole_numbers(self) -> None:
        data = b"a +5 1\na -9223372036854775808 1\na 0000000000000000000000000000005 1\n"
        self.assertEqual([row[1] for row in self.parse(data).rows()], [5.0, -(2.0**63), 5.0])
        counts = self.parse(b"a 1 2 3 4 5 18446744073709551615\na 1 2 3 4 5 -1\na 1 2 3 4 5 +7\n").rows()
        self.assertEqual([row[2] for row in counts], [2.0**64, 2.0**64, 7.0])

    def test_stops_behind_a_line_about_the_connection(self) -> None:
        data = b"a 1\n #hostname x\nb 1\n"
        parsed = self.parse(data)
        self.assertEqual((parsed.meta, parsed.at, len(parsed.rows())), (4, 17, 1))

    def test_reads_whole_lines_only(self) -> None:
        parsed = self.parse(b"a 1\nb 2")
        self.assertEqual((parsed.at, len(parsed.rows())), (4, 1))

    def test_stops_when_the_columns_are_full(self) -> None:
        parsed = self.parse(b"a 1\n" * 5, capacity=3)
        self.assertEqual((parsed.at, parsed.columns.n), (12, 3))
        self.assertEqual(self.parse(b"", capacity=0).columns.n, 0)

    def test_pauses_when_too_much_is_bad(self) -> None:
        parsed = self.parse(b"x\n" * 1000)
        self.assertEqual((len(parsed.bad), parsed.at), (statline.BAD_LIMIT, 2 * statline.BAD_LIMIT))

    def test_a_full_table_refuses_new_names_only(self) -> None:
        data = b"".join(b"name%03d %d\n" % (i % 60, i) for i in range(120))
        parsed = self.parse(data, capacity=200, max_bytes=1000)
        known = len(parsed.table)
        self.assertTrue(0 < known < 60)
        self.assertEqual(len(parsed.rows()), known * 2)
        self.assertEqual(parsed.kinds(), ["table_full"] * (120 - known * 2))
        self.assertEqual([row[3] for row in parsed.rows()][:known], [float(i) for i in range(known)])

    def test_a_name_has_a_bound(self) -> None:
        parsed = self.parse(b"x" * 65535 + b" 1\n" + b"x" * 65536 + b" 1\n")
        self.assertEqual((len(parsed.rows()), parsed.kinds()), (1, ["name"]))

    def test_refuses_a_wrong_call(self) -> None:
        columns = SummaryColumns(3)
        table = self.tables.MetricTable(1)
        good = (columns.ids, *[np.zeros(3)] * 6)
        for arguments in (
            (0, 5, *good, 0),
            (2, 1, *good, 0),
            (0, 4, *good, 4),
            (0, 4, columns.ids, *[np.zeros(2)] * 6, 0),
        ):
            self.assertRaises(ValueError, self.kernel.parse_stats, table, b"a 1\n", *arguments, NOW, [])


class NativeStatLinesTests(StatLinesContract, unittest.SynchronousTestCase):
    kernel = native_twin("statlines")  # type: ignore[assignment]
    tables = native_twin("table")  # type: ignore[assignment]
    skip = None if kernel else "the native kernel is not built"


class PythonStatLinesTests(StatLinesContract, unittest.SynchronousTestCase):
    kernel = python_twin("statlines")
    tables = python_twin("table")


words = st.one_of(
    st.sampled_from(
        [b"a", b"a.b^c", b"*x", b"#host", b"@r", b"*", b"1", b"-2.5", b"1e5", b"nan", b"Inf", b"1325394000"]
    ),
    st.integers(-(10**20), 10**20).map(lambda n: b"%d" % n),
    st.floats().map(lambda x: repr(x).encode()),
    st.binary(max_size=5),
)
lines = st.lists(words, max_size=9).map(b" ".join)


class TwinComparison(unittest.SynchronousTestCase):
    skip = None if native_twin("statlines") else "the native kernel is not built"

    @given(st.lists(lines, max_size=12).map(b"\n".join), st.integers(1, 20), st.sampled_from([0, 200]))
    def test_both_twins_read_the_same(self, data: bytes, capacity: int, max_bytes: int) -> None:
        found = []
        for twin in (native_twin, python_twin):
            kernel, tables = twin("statlines"), twin("table")
            assert kernel is not None
            assert tables is not None
            parsed = Parsed(kernel, tables, data, capacity, max_bytes)
            found.append((repr(parsed.rows()), parsed.bad, parsed.at, parsed.meta))
        self.assertEqual(found[0], found[1])

    def test_kinds_stand_where_the_kernel_thinks(self) -> None:
        numbers = (statline.BAD_FIELDS, statline.BAD_VALUE, statline.BAD_TIMESTAMP, statline.BAD_NAME)
        self.assertEqual([BAD_KINDS[number] for number in numbers], ["fields", "value", "timestamp", "name"])
        self.assertEqual(BAD_KINDS[statline.BAD_TABLE_FULL], "table_full")
        self.assertEqual(BAD_KINDS[statline.BAD_RESERVED], "reserved")
