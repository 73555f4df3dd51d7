"""Tests of `cadtwist.kernels.table` and its readable twin."""

from __future__ import annotations

import random
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.trial import unittest

from cadtwist.kernels import graphiteline
from cadtwist.model.badinput import BAD_KINDS
from cadtwist.model.batch import NO_ID
from tests.twins import native_twin, python_twin

NOW = 1_700_000_123.5
quick = settings(max_examples=150, deadline=None, database=None, print_blob=True)


def words(text: str) -> list[str]:
    """Return what stands between the blanks."""
    return text.split()


def read(
    kernel: ModuleType, data: bytes, rows: int = 64, now: float = NOW, resolution: int = 0, spans: bool = True,
    table: Any = None,
) -> tuple[list[tuple[bytes, float, float]], list[tuple[str, bytes]], list[list[int]], int]:  # fmt: skip
    """Parse all of `data`, refilling columns of `rows` rows; return points, bad lines, spans, the position."""
    table = kernel.MetricTable(7) if table is None else table
    ids, stamps, values = np.zeros(rows, np.uint32), np.zeros(rows), np.zeros(rows)
    table_of_spans = np.zeros((rows, 3), np.uint32) if spans else None
    points, wrong, where, pos = [], [], [], 0
    while True:
        bad: list[tuple[int, int, int]] = []
        before = pos
        pos, n = kernel.parse_graphite(
            table, data, pos, len(data), ids, stamps, values, table_of_spans, 0, now, resolution, bad
        )
        points += list(zip(table.names(ids[:n]), stamps[:n].tolist(), values[:n].tolist(), strict=True))
        wrong += [(BAD_KINDS[kind], data[start:end]) for kind, start, end in bad]
        where += [] if table_of_spans is None else table_of_spans[:n].tolist()
        if pos == before:
            return points, wrong, where, pos


def expected(data: bytes, now: float, resolution: int) -> tuple[list[Any], list[Any]]:
    """Read lines by the rules of the protocol, independently of both twins."""
    points, wrong = [], []
    for line in data.split(b"\n")[:-1]:
        try:
            fields = line.decode("utf-8").split()
        except UnicodeDecodeError:
            wrong.append(("encoding", line))
            continue
        try:
            name, value, stamp = fields
        except ValueError:
            wrong.append(("fields" if fields else "empty", line))
            continue
        kind = "value"
        try:
            number = float(value)
            kind = "timestamp"
            when = float(stamp)
            if number != number:
                kind = "nan"
                raise ValueError
            if int(when) == -1:
                when = now
            if resolution:
                when = float(int(when) // resolution * resolution)
        except (ValueError, OverflowError):
            wrong.append((kind, line))
            continue
        points.append((name.encode(), when, number))
    return points, wrong


class TableContract:
    kernel: ModuleType

    def table(self, max_bytes: int = 0) -> Any:
        return self.kernel.MetricTable(99, max_bytes)

    def test_room_is_made_at_once(self) -> None:
        table = self.kernel.MetricTable(1)
        before = [table.intern(b"before%d" % i, 1) for i in range(100)]
        table.reserve(5000)
        table.reserve(0)
        after = [table.intern(b"after%d" % i, 1) for i in range(5000)]
        self.assertEqual([table.lookup(b"before%d" % i) for i in range(100)], before)
        self.assertEqual([table.lookup(b"after%d" % i) for i in range(5000)], after)

    def test_gives_dense_ids_and_finds_them(self) -> None:
        table = self.table()
        self.assertEqual([table.intern(b"m%d" % i, 5) for i in range(1000)], list(range(1000)))
        self.assertEqual([table.intern(b"m%d" % i, 6) for i in range(1000)], list(range(1000)))
        self.assertEqual((len(table), table.capacity), (1000, 1000))
        self.assertEqual((table.lookup(b"m17"), table.lookup(b"absent")), (17, NO_ID))
        self.assertEqual((table.name(17), table.seen(17)), (b"m17", 6))
        self.assertEqual(table.live().tolist(), list(range(1000)))

    def test_tells_names_by_every_length(self) -> None:
        table = self.table()
        names = [bytes([65 + n % 26]) * n for n in [*range(300), 16384, 65535]]
        ids = [table.intern(name, 1) for name in names]
        self.assertEqual(table.names(ids), names)
        blob, offsets = table.blob(np.array(ids, np.uint32))
        self.assertEqual((blob, offsets.dtype), (b"".join(names), np.dtype(np.uint32)))
        self.assertEqual([blob[a:b] for a, b in pairwise(offsets)], names)

    def test_refuses_names_that_are_too_long(self) -> None:
        table = self.table()
        self.assertEqual(table.intern(b"x" * 65536, 1), NO_ID)
        self.assertEqual(len(table), 0)

    def test_stays_within_its_budget(self) -> None:
        table = self.table(max_bytes=10 * (32 + 8))
        given = [table.intern(b"name%03d" % i, 1) for i in range(20)]
        self.assertEqual(given, [*range(10), *[NO_ID] * 10])
        self.assertEqual(table.intern(b"name003", 2), 3)
        table.retire([4])
        self.assertEqual(table.intern(b"another", 1), NO_ID)
        table.recycle([4])
        self.assertEqual(table.intern(b"another", 1), 4)
        self.assertEqual(table.used_bytes, 400)

    def test_interns_many_from_a_blob(self) -> None:
        table = self.table(max_bytes=700 * 40)
        names = [b"n%04d" % (i % 800) for i in range(2000)]
        offsets = np.arange(0, 5 * 2001, 5, dtype=np.uint32)
        ids = np.zeros(2000, np.uint32)
        self.assertEqual(table.intern_many(b"".join(names), offsets, ids, 9), 200)
        self.assertEqual(ids[:800].tolist(), [*range(700), *[NO_ID] * 100])
        self.assertEqual(ids[800:1600].tolist(), ids[:800].tolist())

    def test_refuses_offsets_that_do_not_fit(self) -> None:
        table, ids = self.table(), np.zeros(2, np.uint32)
        for offsets in ([0, 2], [0, 2, 9], [0, 3, 1]):
            with self.assertRaises(ValueError):
                table.intern_many(b"abcd", np.array(offsets, np.uint32), ids, 1)
        self.assertEqual(len(table), 0)

    def test_rests_before_it_gives_an_id_again(self) -> None:
        table = self.table()
        first, second = table.intern(b"a", 1), table.intern(b"b", 1)
        table.retire(np.array([first], np.uint32))
        self.assertEqual((table.lookup(b"a"), table.name(first), len(table)), (NO_ID, b"a", 1))
        self.assertEqual(table.live().tolist(), [second])
        self.assertEqual(table.intern(b"a", 2), 2)
        table.recycle([first])
        with self.assertRaises(KeyError):
            table.name(first)
        self.assertEqual(table.intern(b"c", 2), first)
        self.assertEqual(table.names([2, first, second]), [b"a", b"c", b"b"])

    def test_refuses_ids_in_the_wrong_state(self) -> None:
        table = self.table()
        number = table.intern(b"a", 1)
        for call, wrong in ((table.retire, 5), (table.recycle, number), (table.name, 7), (table.seen, 7)):
            with self.assertRaises(KeyError):
                call([wrong] if call in (table.retire, table.recycle) else wrong)
        table.retire([number])
        with self.assertRaises(KeyError):
            table.retire([number])
        with self.assertRaises(KeyError):
            table.blob([3])

    def test_walks_a_clock_hand_over_idle_names(self) -> None:
        table = self.table()
        for i in range(10):
            table.intern(b"m%d" % i, 100 + i)
        self.assertEqual(table.idle(110, 6, 4).tolist(), [0, 1, 2, 3])
        self.assertEqual(table.idle(110, 6, 4).tolist(), [4])
        self.assertEqual(table.idle(110, 6, 100).tolist(), [0, 1, 2, 3, 4])
        self.assertEqual(table.idle(50, 1, 100).tolist(), [])
        self.assertEqual(self.table().idle(50, 1, 100).tolist(), [])

    def test_survives_growth_removal_and_reuse(self) -> None:
        table, chosen = self.table(), random.Random(3)
        model: dict[bytes, int] = {}
        for round_ in range(12):
            for _ in range(2000):
                name = b"%x." % chosen.getrandbits(40) * chosen.randint(1, 9)
                model[name] = table.intern(name, round_)
            gone = chosen.sample(sorted(model), 1200)
            ids = [model.pop(name) for name in gone]
            table.retire(ids)
            table.recycle(ids)
        self.assertEqual({name: table.lookup(name) for name in model}, model)
        self.assertEqual(len(set(model.values())), len(table))
        self.assertEqual(sorted(table.names(table.live())), sorted(model))
        self.assertLess(table.capacity, 12 * 2000)


class ParseContract:
    kernel: ModuleType

    def test_numbers_of_bad_kinds_agree_with_the_model(self) -> None:
        names = words("fields value timestamp encoding empty nan name table_full")
        self.assertEqual([BAD_KINDS[getattr(graphiteline, "BAD_" + name.upper())] for name in names], names)
        self.assertEqual(graphiteline.NO_ID, NO_ID)

    def test_reads_lines_and_their_spans(self) -> None:
        data = b"a.b 1 1700000000\n c.d\t2.5  1700000001 \r\nrest 1 17"
        points, wrong, spans, pos = read(self.kernel, data)
        self.assertEqual(points, [(b"a.b", 1.7e9, 1.0), (b"c.d", 1700000001.0, 2.5)])
        self.assertEqual((wrong, spans, data[pos:]), ([], [[0, 3, 16], [17, 21, 39]], b"rest 1 17"))

    def test_spans_count_bytes_of_wide_white_space(self) -> None:
        data = "\u2003m\u00e9t\u00a01\u20031700000000\n".encode()
        points, _, spans, _ = read(self.kernel, data)
        self.assertEqual(points, [("m\u00e9t".encode(), 1.7e9, 1.0)])
        self.assertEqual(spans, [[0, data.index(b"t") + 1, len(data) - 1]])

    def test_reports_each_kind(self) -> None:
        data = (
            b"\n  \r\na 1\na 1 2 3\na x 1\na 1 x\na nan 1\na 1 nan\na 1 inf\n\xff 1 1\na 1 N\n"
            + b"n" * 65536 + b" 1 1\na nan inf\na 1 1e400\n"
        )  # fmt: skip
        points, wrong, _, pos = read(self.kernel, data)
        self.assertEqual((points, pos), ([], len(data)))
        self.assertEqual(
            [kind for kind, _ in wrong],
            words(
                "empty empty fields fields value timestamp nan timestamp timestamp encoding timestamp name nan "
                "timestamp"
            ),
        )

    def test_reports_a_full_table_and_goes_on(self) -> None:
        table = self.kernel.MetricTable(1, 40)
        points, wrong, _, _ = read(self.kernel, b"a 1 1\nb 1 1\nb \xc2\xa01 1\na 2 2\n", table=table)
        self.assertEqual(points, [(b"a", 1.0, 1.0), (b"a", 2.0, 2.0)])
        self.assertEqual([kind for kind, _ in wrong], ["table_full"] * 2)

    def test_pauses_when_columns_or_bad_lines_are_full(self) -> None:
        points, wrong, _, pos = read(self.kernel, b"a 1 1\n" * 1000 + b"\n" * 1000, rows=7)
        self.assertEqual((len(points), len(wrong), pos), (1000, 1000, 7000))
        bad: list[tuple[int, int, int]] = []
        columns = np.zeros(4, np.uint32), np.zeros(4), np.zeros(4)
        at, n = self.kernel.parse_graphite(
            self.kernel.MetricTable(1), b"\n" * 1000, 0, 1000, *columns, None, 0, NOW, 0, bad
        )
        self.assertEqual((at, n, len(bad)), (graphiteline.BAD_LIMIT, 0, graphiteline.BAD_LIMIT))

    def test_settles_timestamps(self) -> None:
        data = b"".join(b"m 1 %s\n" % stamp for stamp in (b"-1", b"-1.9", b"-2", b"-5", b"61.7", b"-61.7", b"1e30"))
        self.assertEqual([p[1] for p in read(self.kernel, data)[0]], [NOW, NOW, -2.0, -5.0, 61.7, -61.7, 1e30])
        self.assertEqual(
            [p[1] for p in read(self.kernel, data, resolution=60)[0]],
            [1_700_000_100.0, 1_700_000_100.0, -60.0, -60.0, 60.0, -120.0, float(int(1e30) // 60 * 60)],
        )

    def test_numbers_are_those_of_float(self) -> None:
        texts = words(
            "0 -0 1 +1 1. .5 -.5e-3 1e3 1E+3 1e22 1e23 1e-22 1e-23 9007199254740992 9007199254740993 "
            "0.1 0.30000000000000004 57356.214285714286 123456789012345678901234567890 1e308 1e309 -1e400 "
            "4.9e-324 2.2250738585072011e-308 00000000000000000000001 1e00000000000000000005 inf -Infinity "
            "1_000 1_0.5 179769313486231580793728971405301e276 0.000001 1e-400 0e999 "
        )
        texts += ["1" * 350, "0." + "3" * 390, "9" * 500, "1e" + "9" * 50]
        data = "".join(f"m {text} 1\n" for text in texts).encode()
        found = [value for _, _, value in read(self.kernel, data)[0]]
        self.assertEqual([v.hex() for v in found], [float(text).hex() for text in texts])

    def test_random_numbers_are_those_of_float(self) -> None:
        chosen, texts = random.Random(17), list[str]()
        for _ in range(1500):
            texts.append(repr(chosen.random() * 10.0 ** chosen.randint(-6, 9)))
            texts.append(f"{chosen.getrandbits(63)}e{chosen.randint(-30, 30)}")
            texts.append(f"{(chosen.getrandbits(53) | 1 << 53) * 2 + 1}")  # exactly between two doubles
            texts.append(f"-{chosen.getrandbits(44)}.{chosen.choice(['5', '25', '125', '0625'])}")
        data = "".join(f"m {text} 1\n" for text in texts).encode()
        found = [value for _, _, value in read(self.kernel, data)[0]]
        self.assertEqual([v.hex() for v in found], [float(text).hex() for text in texts])

    def test_refuses_what_float_refuses(self) -> None:
        texts = words(". - + 1e 1e+ e5 1.2.3 0x10 True 1__0 _1 1_ --1 1-1 1,5 \x001 1\x00 N null")
        data = "".join(f"m {text} 1\n" for text in texts).encode()
        points, wrong, _, _ = read(self.kernel, data)
        self.assertEqual((points, [kind for kind, _ in wrong]), ([], ["value"] * len(texts)))

    def test_tells_other_line_separators(self) -> None:
        for text in ("\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"):
            for lead in ("", "a", "b" * 15, "c" * 16, "\n\t\u00e9" * 20):
                self.assertTrue(self.kernel.odd_breaks(f"{lead}{text}".encode()), (lead, text))
                self.assertTrue(self.kernel.odd_breaks(f"{lead}{text}{'z' * 40}".encode()), (lead, text))
        for data in (b"", b"a 1 2\n\tb\x1f\x00" * 9, "\u00e9\u2027\x84".encode() * 9, b"\xe2\x80", b"\xc2"):
            self.assertFalse(self.kernel.odd_breaks(data))

    def test_refuses_arguments_that_do_not_fit(self) -> None:
        table, good = self.kernel.MetricTable(1), (np.zeros(4, np.uint32), np.zeros(4), np.zeros(4))
        if self.kernel.__name__.endswith("_py"):
            raise unittest.SkipTest("only the native twin touches memory by these arguments")
        for columns, spans, n in (
            ((good[0], good[1], np.zeros(3)), None, 0),
            (good, np.zeros((3, 3), np.uint32), 0),
            (good, np.zeros((4, 2), np.uint32), 0),
            (good, None, 5),
            (good, None, -1),
        ):
            with self.assertRaises(ValueError):
                self.kernel.parse_graphite(table, b"a 1 1\n", 0, 6, *columns, spans, n, 1.0, 0, [])
        for columns in ((good[1], good[1], good[2]), ([1], good[1], good[2]), (good[0][::2], good[1], good[2])):
            with self.assertRaises(TypeError):
                self.kernel.parse_graphite(table, b"a 1 1\n", 0, 6, *columns, None, 0, 1.0, 0, [])
        for start, end in ((-1, 6), (0, 7), (5, 4)):
            with self.assertRaises(ValueError):
                self.kernel.parse_graphite(table, b"a 1 1\n", start, end, *good, None, 0, 1.0, 0, [])


LINES = st.lists(
    st.one_of(
        st.builds(
            lambda *parts: "".join(parts).encode("utf-8", "surrogatepass"),
            st.text("abc.;=\u00e9\x00~", min_size=1, max_size=40),
            st.sampled_from([" ", "\t", "  ", "\u00a0", "\x1f", "\x0b"]),
            st.one_of(st.floats().map(repr), st.integers().map(str), st.text("0123456789.eE+-_infax", max_size=24)),
            st.sampled_from([" ", "\t", " \t ", "\r"]),
            st.one_of(st.floats().map(repr), st.integers(-99, 2**33).map(str), st.text("01239.e-", max_size=12)),
            st.sampled_from(["", "", "", "\r", " ", " x", "\x85"]),
        ),
        st.binary(max_size=60),
    ),
    max_size=40,
)


class ParseRandomlyTests(unittest.SynchronousTestCase):
    @quick
    @given(LINES, st.sampled_from([0, 0, 1, 60]), st.integers(1, 40))
    def test_both_twins_read_any_bytes_as_the_rules_say(self, lines: list[bytes], step: int, rows: int) -> None:
        data = b"\n".join(lines)
        good, faults = expected(data, NOW, step)
        for kernel in (python_twin("table"), native_twin("table")):
            if kernel is None:
                continue
            points, wrong, _, pos = read(kernel, data, rows, resolution=step)
            key = [(name, when.hex(), value.hex()) for name, when, value in points]
            self.assertEqual(key, [(name, when.hex(), value.hex()) for name, when, value in good])
            self.assertEqual((wrong, pos), (faults, data.rfind(b"\n") + 1))


class PythonTableTests(TableContract, ParseContract, unittest.SynchronousTestCase):
    kernel = python_twin("table")


class NativeTableTests(TableContract, ParseContract, unittest.SynchronousTestCase):
    kernel = native_twin("table")  # type: ignore[assignment]
    if kernel is None:
        skip = "the native twin is not built"

    def test_memory_is_reused_when_sizes_change(self) -> None:
        table = self.kernel.MetricTable(5)
        peaks = []
        for round_ in range(30):
            size = 20 + round_ * 37 % 200
            ids = [table.intern(b"%06d" % i + b"x" * size, 1) for i in range(3000)]
            peaks.append(table.allocated_bytes)
            table.retire(ids)
            table.recycle(ids)
        self.assertLess(max(peaks), 2.2 * 3000 * (32 + 230))

    def test_takes_at_most_32_bytes_beside_a_name(self) -> None:
        table = self.kernel.MetricTable(5)
        count = 200_000
        blob = b"".join(b"%024d" % i for i in range(count))
        ids = np.zeros(count, np.uint32)
        table.intern_many(blob, np.arange(0, 24 * count + 1, 24, dtype=np.uint32), ids, 1)
        self.assertLess(table.allocated_bytes / count, 24 + 32)

    def test_hostile_names_do_not_cluster(self) -> None:
        table = self.kernel.MetricTable(random.Random(1).getrandbits(64))
        names = [b"\x00" * i for i in range(2000)] + [b"%d" % (i << 20) * 3 for i in range(20_000)]
        ids = [table.intern(name, 1) for name in names]
        self.assertEqual(len(set(ids)), len(names))
        self.assertEqual([table.lookup(name) for name in names], ids)


class TwinMachine(RuleBasedStateMachine):
    """Both twins through the same random life."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = [python_twin("table").MetricTable(3, 1500), native_twin("table").MetricTable(3, 1500)]
        self.rested: list[int] = []
        self.now = 10

    def both(self, call: Any) -> Any:
        first, second = map(call, self.twins)
        assert first == second, (first, second)
        return first

    @rule(name=st.one_of(st.binary(max_size=3), st.binary(max_size=60)), later=st.integers(0, 3))
    def interns(self, name: bytes, later: int) -> None:
        self.now += later
        self.both(lambda table: table.intern(name, self.now))

    @rule(names=st.lists(st.binary(max_size=20), max_size=50))
    def interns_many(self, names: list[bytes]) -> None:
        offsets = np.cumsum([0, *map(len, names)]).astype(np.uint32)
        ids = np.zeros(len(names), np.uint32)
        self.both(lambda table: (table.intern_many(b"".join(names), offsets, ids, self.now), ids.tolist()))

    @precondition(lambda self: len(self.twins[0]))
    @rule(pick=st.integers(0, 10**6), many=st.integers(1, 20))
    def retires(self, pick: int, many: int) -> None:
        live = self.both(lambda table: table.live().tolist())
        chosen = live[pick % len(live) :][:many]
        self.both(lambda table: table.retire(np.array(chosen, np.uint32)))
        self.rested += chosen

    @rule(many=st.integers(0, 20))
    def recycles(self, many: int) -> None:
        chosen, self.rested = self.rested[:many], self.rested[many:]
        self.both(lambda table: table.recycle(chosen))

    @rule(idle_s=st.integers(0, 4), budget=st.integers(0, 30))
    def looks_for_idle_ones(self, idle_s: int, budget: int) -> None:
        self.both(lambda table: table.idle(self.now, idle_s, budget).tolist())

    @invariant()
    def agree(self) -> None:
        self.both(lambda table: (len(table), table.capacity, table.used_bytes))
        live = self.both(lambda table: table.live().tolist())
        names = self.both(lambda table: table.names(live + self.rested))
        assert [self.twins[1].lookup(name) for name in names[: len(live)]] == live


if native_twin("table") is not None:
    TwinMachine.TestCase.settings = settings(
        max_examples=25, stateful_step_count=40, deadline=None, database=None, print_blob=True
    )

    class TwinMachineTests(TwinMachine.TestCase, unittest.SynchronousTestCase):  # type: ignore[misc]
        """The machine as a trial test."""
