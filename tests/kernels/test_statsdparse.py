"""statsd lines into columns: both twins keep one contract, and hypothesis compares them on hostile lines."""

from __future__ import annotations

import math
import struct
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.kernels import statsdline
from cadtwist.kernels.cardinality import member_hash
from cadtwist.kernels.jstext import js_text
from cadtwist.kernels.statsdline import CADENT, DOG, SANITISE, STATSITE, TAGS_DROPPED, TAGS_IN_NAMES
from cadtwist.model.badinput import BAD_KINDS
from tests.twins import native_twin, python_twin

Row = tuple[str, Any, float]


class Reading:
    """Drives one twin over a text, in columns of `capacity` rows."""

    def __init__(self, kernel: ModuleType, tables: ModuleType, capacity: int = 64, max_bytes: int = 0) -> None:
        self.kernel = kernel
        self.table = tables.MetricTable(1, max_bytes)
        self.capacity = capacity

    def read(self, data: bytes, flags: int = SANITISE) -> tuple[list[Row], list[tuple[str, bytes]], int]:
        ids = np.zeros(self.capacity, np.uint32)
        values, weights = np.zeros(self.capacity), np.zeros(self.capacity)
        rows: list[Row] = []
        wrong: list[tuple[str, bytes]] = []
        start = skip = lines = 0
        end = data.rfind(b"\n") + 1
        while start < end:
            bad: list[tuple[int, int, int]] = []
            start, skip, n, begun = self.kernel.parse_statsd(
                self.table, data, start, len(data), skip, ids, values, weights, 0, 1000.0, flags, bad
            )
            lines += begun
            wrong += [(BAD_KINDS[kind], data[at:stop]) for kind, at, stop in bad]
            rows += self.rows(ids[:n], values, weights)
        return rows, wrong, lines


    def read_binary(self, data: bytes) -> tuple[list[Row], list[tuple[str, bytes]], int]:
        ids = np.zeros(self.capacity, np.uint32)
        values, weights = np.zeros(self.capacity), np.zeros(self.capacity)
        rows: list[Row] = []
        wrong: list[tuple[str, bytes]] = []
        start = records = 0
        while True:
            bad: list[tuple[int, int, int]] = []
            start, n, begun = self.kernel.parse_binary(
                self.table, data, start, len(data), ids, values, weights, 0, 1000.0, bad
            )
            records += begun
            wrong += [(BAD_KINDS[kind], data[at : at + 2]) for kind, at, _ in bad]
            if not begun:
                return rows, wrong, records
            rows += self.rows(ids[:n], values, weights)

    def rows(self, ids: Any, values: Any, weights: Any) -> list[Row]:
        names = [name.decode() for name in self.table.names(ids)]
        bits = values.view(np.uint64)
        return [
            (name, int(bits[i]) if name.endswith("|s") else float(values[i]), float(weights[i]))
            for i, name in enumerate(names)
        ]


def record(kind: int, key: str, value: float | str) -> bytes:
    text = key.encode() + b"\0"
    if isinstance(value, str):
        member = value.encode() + b"\0"
        return struct.pack("<BBHH", 0xAA, kind, len(text), len(member)) + text + member
    return struct.pack("<BBHd", 0xAA, kind, len(text), value) + text


class StatsdContract:
    kernel: ModuleType
    tables: ModuleType

    def read(self, *lines: str, flags: int = SANITISE) -> list[Row]:
        rows, self.wrong, self.lines = Reading(self.kernel, self.tables).read(
            "".join(f"{x}\n" for x in lines).encode(), flags
        )
        return rows

    def bad_kinds(self, *lines: str, flags: int = SANITISE) -> list[str]:
        self.assertEqual(self.read(*lines, flags=flags), [])
        return [kind for kind, _ in self.wrong]

    def test_types(self) -> None:
        self.assertEqual(
            self.read("a.b:1|c", "a.b:-2.5|g", "a.b:320|ms", "a.b:765|s", "a.b:+4|g"),
            [("a.b|c", 1.0, 1.0), ("a.b|g", -2.5, 0.0), ("a.b|ms", 320.0, 1.0), ("a.b|s", member_hash(b"765"), 1.0),
             ("a.b|g", 4.0, 0.0)],
        )  # fmt: skip
        self.assertEqual((self.wrong, self.lines), ([], 5))

    def test_rates(self) -> None:
        self.assertEqual(
            self.read("c:1|c|@0.1", "t:1|ms|@.5", "g:1|g|@0.1", "s:1|s|@0.1", "c:3|c|@2", "c:1|c|@0.5 \r"),
            [("c|c", 1.0, 10.0), ("t|ms", 1.0, 2.0), ("g|g", 1.0, 1.0), ("s|s", member_hash(b"1"), 1.0),
             ("c|c", 3.0, 0.5), ("c|c", 1.0, 2.0)],
        )  # fmt: skip
        odd = [
            f"a:1|c|{rate}"
            for rate in ("0.1", "@", "@-1", "@0.1x", "@0", "@1e-1", "@0x1", "@ 1", "@+1", "", "@.", "@1.2.3")
        ]
        self.assertEqual(self.bad_kinds(*odd), ["rate"] * len(odd))

    def test_bad_elements_cost_only_themselves(self) -> None:
        self.assertEqual(
            self.read("m:1|c:2|c:3|ms", "m2:1:2:3|c", "noval", "url:http://x|s", "key:", "key:|c", "", "k:abc|c"),
            [("m|c", 1.0, 1.0), ("m|c", 2.0, 1.0), ("m|ms", 3.0, 1.0), ("m2|c", 3.0, 1.0),
             ("url|s", member_hash(b"//x"), 1.0)],
        )  # fmt: skip
        self.assertEqual([kind for kind, _ in self.wrong], ["fields"] * 5 + ["value"] * 2)
        self.assertEqual(self.lines, 7)

    def test_numbers_are_javascripts(self) -> None:
        good = {"0x10": 16.0, "1e3": 1000.0, " 7": 7.0, " ": 0.0, "5.": 5.0, ".5": 0.5, "Infinity": math.inf,
                "0b11": 3.0, "0.1": 0.1, "123456789012345678901234": 123456789012345678901234.0, "0.0000001": 1e-7,
                "\ufeff2": 2.0}  # fmt: skip
        for text, expected in good.items():
            self.assertEqual(self.read(f"k:{text}|c"), [("k|c", expected, 1.0)], text)
        odd = ("nan", "NaN", "infinity", "1_0", "1abc", "--1", "0x", "+0x10", "1e", "\x1c1", "\u0661")
        self.assertEqual(self.bad_kinds(*[f"k:{text}|c" for text in odd]), ["value"] * len(odd))

    def test_timers_below_zero(self) -> None:
        self.assertEqual(self.bad_kinds("k:-5|ms"), ["value"])
        self.assertEqual(self.read("k:-5| ms"), [("k|ms", -5.0, 1.0)])

    def test_unknown_types_count(self) -> None:
        for kind in ("h", "m", "zz", "", "d", "kv", "C"):
            self.assertEqual(self.read(f"k:2|{kind}"), [("k|c", 2.0, 1.0)], kind)
        self.assertEqual(self.read("k:5|ms\r", "k:1| g "), [("k|ms", 5.0, 1.0), ("k|g", 1.0, 1.0)])

    def test_sets(self) -> None:
        self.assertEqual(
            [row[1] for row in self.read("s:|s", "s:0|s", "s: |s", "s:\u00e9|s")],
            [member_hash(text.encode()) for text in ("0", "0", " ", "\u00e9")],
        )

    def test_keys_are_sanitised(self) -> None:
        keys = {"a b/c d": "a_b-c_d", "x\ty  z": "x_y_z", "we!rd#k@ey$": "werdkey", "caf\u00e9": "caf", "": "",
                "semi;tag=v": "semi;tag=v", "..dots..": "..dots..", "(p)": "p", " lead": "_lead", "a\u00a0 b": "a_b",
                "a\x1cb": "ab", "a ! b": "a__b", "UP-per_0.9": "UP-per_0.9", "a,b": "ab"}  # fmt: skip
        for key, expected in keys.items():
            self.assertEqual(self.read(f"{key}:1|c"), [(f"{expected}|c", 1.0, 1.0)], key)
            self.assertEqual(self.read(f"{key}:1|c", flags=0), [(f"{key}|c", 1.0, 1.0)], key)

    def test_tags(self) -> None:
        line = "t:1|c:2|g|#env:prod,host:a:b,;x;y:z,,q r"
        self.assertEqual(
            [row[0] for row in self.read(line, flags=SANITISE)],
            ["t;env=prod;host=ab;_x;y=z;;q_r|c", "t;env=prod;host=ab;_x;y=z;;q_r|g"],
        )
        self.assertEqual([row[0] for row in self.read("t:1|c|#a:b:c,d", flags=0)], ["t;a=b:c;d|c"])
        self.assertEqual([row[0] for row in self.read("t:1|c|#a:b,c", flags=SANITISE | TAGS_IN_NAMES)], ["t.a.b.c|c"])
        self.assertEqual([row[0] for row in self.read("t:1|c|#a:b", flags=SANITISE | TAGS_DROPPED)], ["t|c"])
        self.assertEqual([row[0] for row in self.read("t:1|c|#", "t:1|c|#a:b|#c:d")], ["t|c", "t;a=b|c"])

    def test_dog_forms(self) -> None:
        flags = SANITISE | DOG
        self.assertEqual(
            self.read("h:1|h|@0.5|#a:b|c:abc|T12", "d:2|d|#x", "g:3|g|T16", "c:1|c|@0.1|T5", flags=flags),
            [("h;a=b|ms", 1.0, 2.0), ("d;x|ms", 2.0, 1.0), ("g|g", 3.0, 1.0), ("c|c", 1.0, 10.0)],
        )
        self.assertEqual(self.bad_kinds("_e{5,4}:title|text|#a", "_sc|name|0", flags=flags), ["event", "event"])
        self.assertEqual(self.read("_x:1|c", flags=flags), [("_x|c", 1.0, 1.0)])

    def test_statsite_is_strict(self) -> None:
        good = {
            "x:1abc|c": ("x|c", 1.0, 1.0), "x:1|c|@0": ("x|c", 1.0, 1.0), "x:1|c|@2": ("x|c", 1.0, 1.0),
            "x:1|ms|@0.1x": ("x|ms", 1.0, 10.0), "y:1e3|c": ("y|c", 1000.0, 1.0), "y:.5|c": ("y|c", 0.5, 1.0),
            "y:+2|c": ("y|c", 2.0, 1.0), "y:0x10|c": ("y|c", 0.0, 1.0), "w:1|c|@0.5|#tag:a": ("w|c", 1.0, 2.0),
            "t:3|h": ("t|ms", 3.0, 1.0), "k:7|kv": ("k|kv", 7.0, 1.0), "g:-5|g": ("g|g", -5.0, 0.0),
            "g:5|g": ("g|g", 5.0, 1.0),
            "u:a:b|s": ("u|s", member_hash(b"a:b"), 1.0), "a b/c:1|c": ("a b/c|c", 1.0, 1.0),
            "t:-3|ms": ("t|ms", -3.0, 1.0),
            "x:1|c|@2.0": ("x|c", 1.0, 1.0), "x:1|c|@1": ("x|c", 1.0, 1.0),
        }  # fmt: skip
        for line, expected in good.items():
            self.assertEqual(self.read(line, flags=STATSITE), [expected], line)
        odd = ("nocolon", "x:", "x:1", "x:1|", "x:abc|c", "x:1|zz", "x:1|c|0.1", "x:1|c|@", "x:1|g|@0.1", ":1|c",
               "a:b:2|c", "y:1|c\r", "y: 3|c", "y:5|C", "z:1|s|@0.5", "w:1|c|#tag", "s:|s", "k:1|kv|@0.1")  # fmt: skip
        self.assertEqual(len(self.bad_kinds(*odd, flags=STATSITE)), len(odd))

    def test_cadent_takes_one_value(self) -> None:
        good = {
            "a:1|c:2|c": ("a|c", 1.0, 1.0), "a:3": ("a|c", 3.0, 1.0), "a:2|c|@0.5": ("a|c", 2.0, 2.0),
            "t:-1|ms": ("t|ms", -1.0, 1.0), "t:5|h": ("t|ms", 5.0, 1.0), "g:+5|g": ("g|g", 5.0, 0.0),
            "g:5|g|@0.1": ("g|g", 5.0, 1.0), "a:1|c|x|y": ("a|c", 1.0, 1.0), "s:x|s": ("s|s", member_hash(b"x"), 1.0),
            "s:|s": ("s|s", member_hash(b""), 1.0), "a b|/c:1|c": ("a b|/c|c", 1.0, 1.0),
            "a:1e3|c": ("a|c", 1000.0, 1.0), "\u00e9:1|c": ("\u00e9|c", 1.0, 1.0),
        }  # fmt: skip
        for line, expected in good.items():
            self.assertEqual(self.read(line, flags=CADENT), [expected], line)
        odd = ("a", ":1|c", "a:|c", "a:Inf|c", "a:nan|g", "a:1|zz", "a:1|c|0.1", "a:1|c|#k:v", "a:1|c|@0", "a: 1|c",
               "a:0x10|c")  # fmt: skip
        self.assertEqual(len(self.bad_kinds(*odd, flags=CADENT)), len(odd))

    def test_a_line_wider_than_the_columns(self) -> None:
        line = ("k" + ":1|c" * 50 + ":2|ms" * 30 + ":x|c\n").encode()
        rows, wrong, lines = Reading(self.kernel, self.tables, capacity=7).read(line * 3)
        self.assertEqual((len(rows), len(wrong), lines), (240, 3, 3))

    def test_bad_lines_stay_bounded(self) -> None:
        ids, values, weights = np.zeros(9, np.uint32), np.zeros(9), np.zeros(9)
        bad: list[Any] = []
        table = self.tables.MetricTable(1)
        data = ("k" + ":x|c" * 600 + "\n").encode()
        told = self.kernel.parse_statsd(table, data, 0, len(data), 0, ids, values, weights, 0, 1.0, 0, bad)
        self.assertEqual((told, len(bad)), ((0, statsdline.BAD_LIMIT, 0, 1), statsdline.BAD_LIMIT))

    def test_a_full_table_and_long_names(self) -> None:
        reading = Reading(self.kernel, self.tables, max_bytes=120)
        rows, wrong, _ = reading.read(b"aaaaaaaa:1|c\nbbbbbbbb:1|c\ncccccccc:1|c\ndddddddd:1|c\n aaaa\xff:1|c\n")
        self.assertEqual((len(rows), [kind for kind, _ in wrong]), (2, ["table_full"] * 3))
        self.assertEqual(self.bad_kinds("k" * 65534 + ":1|c"), ["name"])
        self.assertEqual(len(self.read("k" * 65533 + ":1|c")), 1)

    def test_an_unfinished_line_stays(self) -> None:
        ids, values, weights = np.zeros(9, np.uint32), np.zeros(9), np.zeros(9)
        told = self.kernel.parse_statsd(
            self.tables.MetricTable(1), b"a:1|c\nb:2|c", 0, 11, 0, ids, values, weights, 0, 1.0, 0, []
        )
        self.assertEqual(told, (6, 0, 1, 1))

    def test_invalid_utf8(self) -> None:
        rows, wrong, _ = Reading(self.kernel, self.tables).read(b"a\xffb:1|c\n")
        self.assertEqual((rows, wrong), ([("ab|c", 1.0, 1.0)], []))
        rows, _, _ = Reading(self.kernel, self.tables).read(b"a\xffb:1|c\n", STATSITE)
        self.assertEqual(rows, [("a\ufffdb|c", 1.0, 1.0)])


    def test_binary_records(self) -> None:
        records = (
            record(1, "kv", 1.5) + record(2, "Conns", 200.0) + record(3, "tm", -5.0) + record(4, "st", "x")
            + record(5, "ga", -9.0) + record(6, "ga", -4.0) + record(2, "caf\u00e9", 1.0) + record(2, "k" * 5000, 1.0)
        )  # fmt: skip
        rows, wrong, lines = Reading(self.kernel, self.tables, capacity=3).read_binary(records)
        self.assertEqual((wrong, lines), ([], 8))
        self.assertEqual(
            rows,
            [("kv|kv", 1.5, 1.0), ("Conns|c", 200.0, 1.0), ("tm|ms", -5.0, 1.0), ("st|s", member_hash(b"x"), 1.0),
             ("ga|g", -9.0, 1.0), ("ga|g", -4.0, 0.0), ("caf\u00e9|c", 1.0, 1.0), ("k" * 5000 + "|c", 1.0, 1.0)],
        )  # fmt: skip

    def test_binary_faults(self) -> None:
        reading = Reading(self.kernel, self.tables)
        odd = record(2, "a", math.nan) + record(2, "b", 1.0)
        self.assertEqual(reading.read_binary(odd)[1], [("nan", b"\xaa\x02")])
        endless = (b"\xaa\x02\x00\x00", b"\xaa\x02\x01\x00" + bytes(8) + b"x", b"\xaa\x04\x02\x00\x00\x00a\x00",
                   b"\xaa\x04\x02\x00\x01\x00a\x00b")  # fmt: skip
        for wrong in (b"\xaa\x07", *endless):
            self.assertRaises(ValueError, reading.read_binary, record(2, "b", 1.0) + wrong + bytes(20))

    def test_binary_records_may_be_cut_anywhere(self) -> None:
        whole = record(2, "abc", 1.0) + record(4, "st", "member")
        for cut in range(len(record(2, "abc", 1.0)), len(whole)):
            rows = Reading(self.kernel, self.tables).read_binary(whole[:cut])[0]
            self.assertEqual([row[0] for row in rows], ["abc|c"], cut)

    def test_lines_have_javascripts_numbers(self) -> None:
        values = [0.0, -0.0, 1.0, -17.5, 0.1, 1e15, 123456789012345678.0, 1e21, 1e-7, -5e-8, 2.0**53, 0.00012, 320.25]
        columns = np.array([values, [math.nan] * len(values)]).T.copy()
        blob = b"".join(b"metric%02d;k=v|ms" % i for i in range(len(values)))
        offsets = np.arange(0, len(blob) + 1, 15, dtype=np.uint32)
        found = self.kernel.told_lines(blob, offsets, [b"a.", b"b"], [b".mean", b""], columns, 1700000000)
        wanted = [f"a.metric{i:02}.mean;k=v {js_text(value)} 1700000000\n" for i, value in enumerate(values)]
        self.assertEqual(found.decode(), "".join(wanted))
        none = np.zeros((0, 1))
        self.assertEqual(self.kernel.told_lines(b"", np.zeros(1, np.uint32), [b"a"], [b""], none, 5), b"")
        two = [b"a", b"b"]
        for wrong in (([b"a"], [b""], columns), (two, [b""], columns), (two, [b"", b""], columns[:1])):
            self.assertRaises(ValueError, self.kernel.told_lines, blob, offsets, *wrong, 5)

    def test_lines_with_six_decimals(self) -> None:
        table = self.tables.MetricTable(1)
        names = (b"a.b", b"a.c|d", b"x|c", b"y|g")
        ids = np.array([table.intern(name, 1) for name in names], np.uint32)
        stamps, values = np.array([5.0, 5.0, 7.5, 8.0]), np.array([1.5, -2.0, 1e-7, 123456789.123])
        self.assertEqual(
            self.kernel.fixed_lines(table, ids, stamps, values, False),
            b"a.b 1.500000 5\na.c|d -2.000000 5\nx|c 0.000000 7\ny|g 123456789.123000 8\n",
        )
        self.assertEqual(
            self.kernel.fixed_lines(table, ids[1:], stamps[1:], values[1:], True),
            b"a.c:-2.000000|d\nx:0.000000|c\ny:123456789.123000|g\n",
        )

    def test_a_gauge_below_zero_is_set_to_zero_first(self) -> None:
        table = self.tables.MetricTable(1)
        names = (b"a|g", b"b|c", b"c|g", b"d|g", b"|g", b"g", b"e|gg")
        ids = np.array([table.intern(name, 1) for name in names], np.uint32)
        values = np.array([-1.5, -1.5, 1.5, -0.0, -1e-9, -2.0, -3.0])
        self.assertEqual(
            self.kernel.fixed_lines(table, ids, np.zeros(7), values, True),
            b"a:0|g\na:-1.500000|g\nb:-1.500000|c\nc:1.500000|g\nd:0|g\nd:-0.000000|g\n:0|g\n:-0.000000|g\n"
            b":-2.000000|g\ne:-3.000000|gg\n",
        )

    def test_outputs_are_interned(self) -> None:
        keys = [b"a.b|c", b"t;k=v;x=y|ms", b"|g", b"odd", b"k" * 60000 + b"|c"]
        source = self.tables.MetricTable(1)
        ids = [source.intern(key, 1) for key in keys]
        blob, offsets = source.blob(np.array(ids, np.uint32))
        table = self.tables.MetricTable(2)
        for _ in range(2):
            out = np.zeros((5, 2), np.uint32)
            self.kernel.intern_outputs(table, blob, offsets, [b"stats.", b""], [b".rate", b".x"], out, 7.0)
            self.assertEqual(
                [[table.name(number)[:30] for number in row] for row in out.tolist()],
                [[b"stats.a.b.rate", b"a.b.x"], [b"stats.t.rate;k=v;x=y", b"t.x;k=v;x=y"], [b"stats..rate", b".x"],
                 [b"stats..rate", b".x"], [b"stats." + b"k" * 24, b"k" * 30]],
            )  # fmt: skip
        self.assertEqual((len(table), table.seen(0)), (8, 7))
        none = np.zeros((5, 0), np.uint32)
        self.kernel.intern_outputs(table, blob, offsets, [], [], none, 7.0)
        self.assertRaises(ValueError, self.kernel.intern_outputs, table, blob, offsets, [b""], [], none, 7.0)
        many = np.zeros((5, 100), np.uint32)
        suffixes = [b".%d" % i for i in range(100)]
        self.kernel.intern_outputs(table, blob, offsets, [b"p"] * 100, suffixes, many, 7.0)
        self.assertEqual(table.name(int(many[1, 99])), b"pt.99;k=v;x=y")
        full = self.tables.MetricTable(2, 60)
        self.kernel.intern_outputs(full, blob, offsets, [b""], [b""], out[:, :1].copy(), 7.0)
        self.assertEqual(len(full), 1)


class PythonStatsd(StatsdContract, SynchronousTestCase):
    kernel = python_twin("statsdparse")
    tables = python_twin("table")

    def test_kinds_stand_where_the_model_has_them(self) -> None:
        names = ("fields", "value", "nan", "name", "table_full", "type", "rate", "event")
        self.assertEqual([BAD_KINDS[getattr(statsdline, "BAD_" + name.upper())] for name in names], list(names))


class NativeStatsd(StatsdContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel, tables = native_twin("statsdparse"), native_twin("table")
        if kernel is None or tables is None:
            raise SkipTest("the native twin of statsdparse is not built")
        self.kernel, self.tables = kernel, tables


KEYS = st.one_of(
    st.sampled_from(["a", "a.b", "gorets", "x y", "", "k;t=1", "q/r"]), st.text("ab.:|#@/ ;=_!\u00e9\t\r", max_size=8)
)
NUMBERS = st.one_of(
    st.integers(-999, 99999).map(str),
    st.floats(-1e6, 1e6).map(lambda v: f"{v:.3f}"),
    st.sampled_from(["+4", "-0", "", ".", "1e3", "0x1f", " 7", "123456789012345", "1234567890123456",
                     "0.1234567890123456", "5.", ".5", "abc", "1abc", "Infinity", "--1"]),
    st.text("0123456789+-.exa ", max_size=6),
)  # fmt: skip
TYPES = st.one_of(
    st.sampled_from(["c", "ms", "g", "s", "h", "d", "kv", "zz", "", " c", "ms\r", "c "]),
    st.text("cmsghdkv |@#", max_size=3),
)
RATES = st.sampled_from(
    ["", "", "", "|@0.1", "|@1", "|@0", "|@.5", "|@1e-1", "|@", "|0.1", "|@0.25 ", "|@0.1x", "|@2", "|T12"]
)
TAGS = st.sampled_from(
    ["", "", "|#", "|#a:b", "|#a:b,c:d;e", "|#x y", "|#a:b|c:d", "|#a|#b", "|#\u00e9:1", "|#a:b:c;d;e"]
)
ELEMENT = st.tuples(NUMBERS, TYPES, RATES).map(lambda e: f"{e[0]}|{e[1]}{e[2]}")
LINE = st.one_of(
    st.tuples(KEYS, st.lists(ELEMENT, max_size=4), TAGS).map(lambda t: ":".join([t[0], *t[1]]) + t[2]).map(str.encode),
    st.binary(max_size=20),
)
FLAGS = st.sampled_from(
    [
        *(SANITISE, 0, STATSITE, SANITISE | DOG, DOG, SANITISE | TAGS_IN_NAMES, SANITISE | TAGS_DROPPED),
        *(STATSITE | DOG, CADENT),
    ]
)


class Twins(SynchronousTestCase):
    def setUp(self) -> None:
        kernel, tables = native_twin("statsdparse"), native_twin("table")
        if kernel is None or tables is None:
            raise SkipTest("the native twin of statsdparse is not built")
        self.kernel, self.tables = kernel, tables

    def test_both_read_the_same(self) -> None:
        @settings(max_examples=500, deadline=None)
        @example([b"a:0|d"], STATSITE | DOG, 2, 0)
        @given(st.lists(LINE, max_size=60), FLAGS, st.integers(1, 70), st.sampled_from([0, 0, 200]))
        def same(lines: list[bytes], flags: int, capacity: int, max_bytes: int) -> None:
            data = b"".join(line.replace(b"\n", b"") + b"\n" for line in lines)
            one = Reading(python_twin("statsdparse"), python_twin("table"), capacity, max_bytes).read(data, flags)
            two = Reading(self.kernel, self.tables, capacity, max_bytes).read(data, flags)
            np.testing.assert_equal(one, two)

        same()

    def test_any_byte_may_stand_anywhere_in_a_key(self) -> None:
        key = b"Servers.rack_07.web-1;dc=ams.cpu9.user"
        lines = [b"%b%c%b:5|c\n" % (key[:at], byte, key[at:]) for at in range(len(key) + 1) for byte in range(256)]
        lines += [b"%b:5|c\n" % key[:size] for size in range(len(key) + 1)]
        data = b"".join(line for line in lines if line.count(b"\n") == 1)
        for flags in (SANITISE, 0, STATSITE):
            one = Reading(python_twin("statsdparse"), python_twin("table")).read(data, flags)
            self.assertEqual(one, Reading(self.kernel, self.tables).read(data, flags))

    def test_both_write_the_same_lines(self) -> None:
        wholes = st.one_of(st.integers(-9, 9), st.integers(-(10**16), 10**16))
        decimals = st.builds(lambda whole, places: whole / 10**places, wholes, st.integers(0, 9))

        sparse = st.builds(lambda high, low: 2**52 + high * 2**40 + low, st.integers(0, 2**12 - 1), st.integers(0, 9))
        exact = st.builds(math.ldexp, st.one_of(st.integers(2**52, 2**53 - 1), sparse), st.integers(-64, 2))

        @settings(max_examples=500, deadline=None)
        @given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), decimals, exact)))
        def same(values: list[float]) -> None:
            told = []
            blob, offsets = b"".join(b"m|c" for _ in values), np.arange(0, 3 * len(values) + 1, 3, dtype=np.uint32)
            column = np.array(values, np.float64).reshape(-1, 1)
            for kernel in (python_twin("statsdparse"), self.kernel):
                told.append(kernel.told_lines(blob, offsets, [b"x."], [b".y"], column, 7))
            self.assertEqual(*told)

        same()

    def test_numbers_are_the_shortest_that_mean_them(self) -> None:
        random = np.random.default_rng(20)
        decimals = [random.integers(-(10 ** min(17, places + 7)), 10 ** min(17, places + 7), 300) / 10.0**places
                    for places in range(16)]  # fmt: skip
        halves = 2.0**52 - random.integers(-300, 300, 300) / 2.0
        near = np.concatenate([*decimals, halves, 2.0 ** np.arange(-12, 60), 1.0 / np.arange(1, 300)])
        values = np.concatenate((near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)))
        blob, offsets = b"m|c" * len(values), np.arange(0, 3 * len(values) + 1, 3, dtype=np.uint32)
        told = self.kernel.told_lines(blob, offsets, [b""], [b""], values.reshape(-1, 1), 7).decode().splitlines()
        self.assertEqual(told, [f"m {js_text(value)} 7" for value in values.tolist()])

    def test_both_read_the_same_records(self) -> None:
        texts = st.one_of(st.text("ab\0\u00e9", max_size=5), st.just("k" * 5000))
        whole = st.one_of(
            st.tuples(st.sampled_from([1, 2, 3, 5, 6]), texts, st.floats()), st.tuples(st.just(4), texts, texts)
        ).map(lambda r: record(*r))
        pieces = st.lists(st.one_of(whole, st.binary(max_size=14).map(lambda b: b"\xaa" + b)), max_size=60)

        @settings(max_examples=300, deadline=None)
        @given(pieces, st.integers(0, 15), st.integers(1, 70))
        def same(parts: list[bytes], cut: int, capacity: int) -> None:
            data = b"".join(parts)
            data = data[: max(0, len(data) - cut)]
            told = []
            for kernel, tables in ((python_twin("statsdparse"), python_twin("table")), (self.kernel, self.tables)):
                reading = Reading(kernel, tables, capacity)
                try:
                    told.append(reading.read_binary(data))
                except ValueError as error:
                    told.append((str(error), len(reading.table)))
            np.testing.assert_equal(*told)

        same()
