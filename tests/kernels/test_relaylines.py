"""Finding the keys of relayed lines: both twins, and the reference reading of one line."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.kernels import keyedline
from cadtwist.kernels.keyedline import COMMAND, GRAPHITE, RAW_BLANK, RAW_COLON, STATSD, Place
from cadtwist.model.badinput import BAD_KINDS
from tests.twins import native_twin, python_twin

DATA = Path(__file__).parent.parent / "data" / "statsrelay"
NATIVE = native_twin("relaylines")
TAGS = re.compile(rb"\.__([a-zA-Z][a-zA-Z0-9_]+)=[^.]+")
RESERVED = (b"asg", b"az", b"backend", b"canary", b"host", b"period", b"region", b"shard", b"source", b"window")
READ = {
    RAW_COLON: keyedline.read_raw_colon,
    RAW_BLANK: keyedline.read_raw_blank,
    STATSD: partial(keyedline.read_statsd, tags=TAGS, reserved=RESERVED),
    GRAPHITE: keyedline.read_graphite,
}
PIECES = st.sampled_from(
    [b"a", b"b.c", b":", b"1", b"2.5", b"|", b"c", b"ms", b"g", b"|@", b"0.1", b" ", b"\t", b"\r", b"\n", b"\n", b"-",
     b"1e5", b"nan", b"inf", b"0x1p3", b"\x00", b"\xc3\xa9", b"\xff", b"#t:v", b"1700000000", b"." * 9, b"9" * 310]
)  # fmt: skip


def read_all(
    kernel: ModuleType, table: Any, data: bytes, shape: int, rows: int = 5, limit: int = 256, shift: int = 0,
    read: Any = None,
) -> tuple[list[tuple[bytes, bytes]], list[tuple[str, bytes]], int]:  # fmt: skip
    """Return (key by id, line) of each good line, (kind, line) of each bad one, and how many calls it took."""
    ids, spans = np.zeros(rows, np.uint32), np.zeros((rows, 3), np.uint32)
    good, wrong, pos, calls = list[tuple[bytes, bytes]](), list[tuple[str, bytes]](), 0, 0
    while True:
        bad: list[tuple[int, int, int]] = []
        before, calls = pos, calls + 1
        pos, n = kernel.parse_keyed(
            table, data, pos, len(data), ids, spans, 0, 5.0, shift, shape, read or READ[shape], limit, bad
        )
        for number, (start, key_end, stop) in zip(ids[:n].tolist(), (spans[:n] - shift).tolist(), strict=True):
            assert table.name(number) == data[start:key_end]
            good.append((data[start:key_end], data[start:stop]))
        wrong += [("command" if kind == COMMAND else BAD_KINDS[kind], data[start:stop]) for kind, start, stop in bad]
        if pos == before:
            return good, wrong, calls


class RelayLinesContract:
    """What each twin does."""

    kernel: ModuleType
    tables: ModuleType
    assertEqual: Any
    assertRaises: Any
    assertIn: Any

    def read(self, data: bytes, shape: int, **how: Any) -> tuple[Any, Any, int]:
        return read_all(self.kernel, self.tables.MetricTable(7), data, shape, **how)

    def test_takes_the_key_before_the_first_colon(self) -> None:
        good, wrong, _ = self.read(b"a.b:1|c\ncol:on:2|ms\n:3|c\n\nnone\nx:\n", RAW_COLON)
        self.assertEqual(good, [(b"a.b", b"a.b:1|c"), (b"col", b"col:on:2|ms"), (b"x", b"x:")])
        self.assertEqual(wrong, [("name", b":3|c"), ("empty", b""), ("fields", b"none")])

    def test_takes_the_key_before_the_first_blank(self) -> None:
        good, wrong, _ = self.read(b"a.b 1 2\nc\td e\n f\nplain\n", RAW_BLANK)
        self.assertEqual(good, [(b"a.b", b"a.b 1 2"), (b"c", b"c\td e")])
        self.assertEqual(wrong, [("name", b" f"), ("fields", b"plain")])

    def test_checks_as_statsrelay_did(self) -> None:
        scenario = next(
            each for each in json.loads((DATA / "scenarios.json").read_text())
            if each["name"] == "validation_each_line_udp"
        )  # fmt: skip
        lines = [step["send"].encode() for step in scenario["steps"]]
        good, wrong, _ = self.read(b"".join(lines), STATSD)
        # plain lines with a reserved tag are told by their key, once, and not here
        untagged = [line for _, line in good if not keyedline.has_reserved_tag(line, TAGS, RESERVED)]
        self.assertEqual(b"".join(line + b"\n" for line in untagged), scenario["backend_received"][0].encode())
        refused = len(wrong) + len(good) - len(untagged)
        self.assertIn(f"invalid_lines gauge {refused}\n", scenario["status_after"])

    def test_relays_everything_with_a_key_when_it_shall_not_check(self) -> None:
        scenario = next(
            each for each in json.loads((DATA / "scenarios.json").read_text())
            if each["name"] == "no_validation_each_line_udp"
        )  # fmt: skip
        good, wrong, _ = self.read(b"".join(step["send"].encode() for step in scenario["steps"]), RAW_COLON)
        self.assertEqual(b"".join(line + b"\n" for _, line in good), scenario["backend_received"][0].encode())
        self.assertIn(f"malformed_lines gauge {len(wrong)}\n", scenario["status_after"])

    def test_names_what_is_wrong_with_statsd_lines(self) -> None:
        kinds = {
            b"": "empty", b"nocolon|c": "fields", b":1|c": "fields", b":a:1|c": "name", b"k:abc|s": "value",
            b"k:nan|c": "nan", b"k:1e999|c": "nan", b"k:0x1p99999|c": "nan", b"k:inf|g": "nan", b"k:1": "type",
            b"k:1|": "type", b"k:1|kv": "type", b"k:1|q": "type", b"k:1|c|": "rate", b"k:1|c|@": "rate",
            b"k:1|c|@x": "rate", b"k:1|c|#a:b": "value", b"k:b:1|c|#ab": "rate", b"a:b.__host=x:1|c": "tag",
            b"x:1|c\r": "type",
        }  # fmt: skip
        good, wrong, _ = self.read(b"".join(line + b"\n" for line in kinds), STATSD)
        self.assertEqual(good, [])
        self.assertEqual({line: kind for kind, line in wrong}, kinds)

    def test_reads_values_as_strtod_does(self) -> None:
        lines = [b"k: 1|c", b"k:0x10|c", b"k:0xg|c", b"k:1abc|c", b"k:.5|g", b"k:5.|g", b"k:+3|g", b"k:1e3|c",
                 b"k:1|c|@2", b"k:1|c|@1e-3x", b"k:1|m", b"k:-0|G", b"k:0x.8p1z|h"]  # fmt: skip
        good, wrong, _ = self.read(b"\n".join(lines) + b"\n", STATSD)
        self.assertEqual(([line for _, line in good], wrong), (lines, []))

    def test_reads_graphite_lines_and_trims_them(self) -> None:
        good, wrong, _ = self.read(
            b"a.b 1 2\na.b\t1.5  -2 \r\n  lead 3 4\n\xc3\xa9 1 2\na b 2\nx 1\nx 1 2 3\n\xff 1 2\nx nan 1\n\n", GRAPHITE
        )
        self.assertEqual(
            good,
            [(b"a.b", b"a.b 1 2"), (b"a.b", b"a.b\t1.5  -2"), (b"lead", b"lead 3 4"), ("é".encode(), "é 1 2".encode())],
        )
        kinds = ["value", "fields", "fields", "encoding", "nan", "empty"]
        self.assertEqual([kind for kind, _ in wrong], kinds)

    def test_asks_about_times_before_1970(self) -> None:
        asked: list[bytes] = []

        def read(line: bytes) -> Place | int:
            asked.append(line)
            return keyedline.read_graphite(line)

        for numbers in ((), (np.zeros(9), np.zeros(9))):
            ids, spans = np.zeros(9, np.uint32), np.zeros((9, 3), np.uint32)
            data = b"a 1 2\nb -1 2\nc 1 -1\nd 1 +2\n"
            self.kernel.parse_keyed(
                self.tables.MetricTable(7), data, 0, len(data), ids, spans, 0, 5.0, 0, GRAPHITE, read, 256, [], *numbers
            )
            self.assertEqual([line for line in asked if b"-" in line], [b"c 1 -1"])
            asked.clear()

    def test_stops_behind_a_command(self) -> None:
        def read(line: bytes) -> Place | int:
            return COMMAND if line == b"status" else keyedline.read_raw_colon(line)

        ids, spans = np.zeros(9, np.uint32), np.zeros((9, 3), np.uint32)
        bad: list[tuple[int, int, int]] = []
        table, data = self.tables.MetricTable(7), b"a:1\nstatus\nb:1\n"
        found = self.kernel.parse_keyed(
            table, data, 0, len(data), ids, spans, 0, 5.0, 0, RAW_COLON, read, 256, bad
        )  # fmt: skip
        self.assertEqual((found, bad), ((11, 1), [(COMMAND, 4, 10)]))

    def test_stops_at_the_limit_of_bad_lines(self) -> None:
        good, wrong, calls = self.read(b"bad\na:1\nbad\nbad\n", RAW_COLON, limit=1)
        self.assertEqual((len(good), len(wrong), calls), (1, 3, 4))

    def test_shifts_spans(self) -> None:
        self.assertEqual(self.read(b"x:1\nyy:22\n", RAW_COLON, shift=1000), self.read(b"x:1\nyy:22\n", RAW_COLON))

    def test_leaves_an_incomplete_line(self) -> None:
        ids, spans = np.zeros(9, np.uint32), np.zeros((9, 3), np.uint32)
        self.assertEqual(
            self.kernel.parse_keyed(
                self.tables.MetricTable(7), b"a:1\nb:2", 0, 7, ids, spans, 2, 5.0, 0, RAW_COLON, READ[0], 9, []
            ),
            (4, 3),
        )

    def test_reports_a_full_table(self) -> None:
        table = self.tables.MetricTable(7, 45)
        good, wrong, _ = read_all(self.kernel, table, b"a:1|c\nb:1|c\na:2|c\nb:1abc|c\n", STATSD)
        self.assertEqual([line for _, line in good], [b"a:1|c", b"a:2|c"])
        self.assertEqual(wrong, [("table_full", b"b:1|c"), ("table_full", b"b:1abc|c")])

    def test_reads_numbers(self) -> None:
        ids, spans, stamps, values = np.zeros(9, np.uint32), np.zeros((9, 3), np.uint32), np.zeros(9), np.zeros(9)
        data = b"a 1.25 17\nb 1e3 -1\nc -2 3.5 \r\nd 1_0 4\nd inf 5\n"
        found = self.kernel.parse_keyed(
            self.tables.MetricTable(7), data, 0, len(data), ids, spans, 0, 5.0, 0, GRAPHITE, READ[GRAPHITE], 9, [],
            stamps, values,
        )  # fmt: skip
        self.assertEqual(found, (len(data), 5))
        self.assertEqual(stamps[:5].tolist(), [17.0, -1.0, 3.5, 4.0, 5.0])
        self.assertEqual(values[:5].tolist(), [1.25, 1000.0, -2.0, 10.0, float("inf")])
        with self.assertRaises(ValueError):
            self.kernel.parse_keyed(
                self.tables.MetricTable(7), data, 0, 9, ids, spans, 0, 5.0, 0, STATSD, READ[STATSD], 9, [],
                stamps, values,
            )  # fmt: skip

    def test_tells_a_key_within_a_line(self) -> None:
        def read(line: bytes) -> Place | int:
            return Place(0, 4, 5, len(line), 7.0, 8.0)

        ids, spans, stamps, values = np.zeros(9, np.uint32), np.zeros((9, 3), np.uint32), np.zeros(9), np.zeros(9)
        table = self.tables.MetricTable(7)
        found = self.kernel.parse_keyed(
            table, b"GET x 1 2\n", 0, 10, ids, spans, 0, 5.0, 0, keyedline.NOTHING, read, 9, [], stamps, values
        )
        self.assertEqual((found, table.names(ids[:1])), ((10, 1), [b"x"]))
        self.assertEqual((spans[0].tolist(), stamps[0], values[0]), ([0, 0, 9], 7.0, 8.0))

    def test_finds_dirt(self) -> None:
        classes = bytes(1 if byte == 42 else 2 if byte in b".\n" else 3 if byte == 32 else 0 for byte in range(256))
        for text, dirty in ((b"a.b 1 2\n", False), (b"", False), (b"*", True), (b"a..b", True), (b"a  b", True),
                            (b".a", True), (b"a. b", False), (b" a", False), (b"a.\nb", True)):  # fmt: skip
            self.assertEqual(self.kernel.has_dirt(text, 0, len(text), classes), dirty, text)
        self.assertEqual(self.kernel.has_dirt(b"*a*", 1, 2, classes), False)
        for start, end, kinds in ((0, 9, classes), (2, 1, classes), (0, 1, b"")):
            with self.assertRaises(ValueError):
                self.kernel.has_dirt(b"abc", start, end, kinds)

    def test_refuses_names_that_are_too_long(self) -> None:
        longest = b"x" * 65535
        good, wrong, _ = self.read(longest + b":1|c\n" + longest + b"x:1|c\n", RAW_COLON)
        self.assertEqual((len(good), [kind for kind, _ in wrong]), (1, ["name"]))

    def test_refuses_wrong_arguments(self) -> None:
        ids, spans, table = np.zeros(4, np.uint32), np.zeros((3, 3), np.uint32), self.tables.MetricTable(7)
        with self.assertRaises(ValueError):
            self.kernel.parse_keyed(table, b"a:1\n", 0, 4, ids, spans, 0, 5.0, 0, RAW_COLON, READ[0], 9, [])

    def test_reads_pieces_as_the_reference_does(self) -> None:
        @settings(max_examples=300, deadline=None, database=None, print_blob=True)
        @given(st.lists(PIECES, max_size=40), st.sampled_from([RAW_COLON, RAW_BLANK, STATSD, GRAPHITE]))
        def check(pieces: list[bytes], shape: int) -> None:
            data = b"".join(pieces) + b"\n"
            read = partial(keyedline.read_statsd) if shape == STATSD else READ[shape]
            good, wrong, _ = self.read(data, shape, read=read)
            expected_good, expected_wrong = [], []
            for line in data.split(b"\n")[:-1]:
                found = read(line)
                if isinstance(found, int):
                    expected_wrong.append((BAD_KINDS[found], line))
                else:
                    expected_good.append((line[found.key : found.key_end], line[found.start : found.stop]))
            self.assertEqual((good, wrong), (expected_good, expected_wrong))

        check()

    def test_hostile_bytes(self) -> None:
        @settings(max_examples=200, deadline=None, database=None, print_blob=True)
        @given(st.binary(max_size=200), st.sampled_from([RAW_COLON, RAW_BLANK, STATSD, GRAPHITE]))
        def check(data: bytes, shape: int) -> None:
            good, wrong, _ = self.read(data, shape)
            self.assertEqual(len(good) + len(wrong), data.count(b"\n"))

        check()


class PythonRelayLinesTests(RelayLinesContract, unittest.SynchronousTestCase):
    """The readable twin."""

    kernel = python_twin("relaylines")
    tables = python_twin("table")


class NativeRelayLinesTests(RelayLinesContract, unittest.SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE
        tables = native_twin("table")  # type: ignore[assignment]
