"""Relayed lines: every dialect, streams cut anywhere, strict mode, commands, recordings; both twins."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.codec.line import Tail
from cadtwist.codec.relayline import (
    GATHER_BYTES,
    Dialect,
    RelayCodec,
    RelayTail,
    graphite_lines,
    regex_lines,
    statsd_lines,
)
from cadtwist.kernels.ringhash import NONE
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns
from tests.twins import native_twin, python_twin

DATA = Path(__file__).parent.parent / "data"
NOW = 1_700_000_500.25
SCENARIOS = {each["name"]: each for each in json.loads((DATA / "statsrelay" / "scenarios.json").read_text())}


class Reader:
    """A codec and all that comes out of it."""

    def __init__(self, twins: tuple[ModuleType, ModuleType], dialect: Dialect, rows: int = 7, **options: Any) -> None:
        tables, kernel = twins
        self.table = tables.MetricTable(11)
        self.lines: list[bytes] = []
        self.keys: list[bytes] = []
        self.batches: list[int] = []
        self.numbers: list[tuple[float, float]] = []
        self.bad: dict[str, int] = {}
        self.answered: list[tuple[bytes, int]] = []
        self.codec = RelayCodec(self.table, Columns(rows, True), self.take, dialect, kernel=kernel, **options)
        self.tail = RelayTail(self.answer)

    def take(self, batch: Batch) -> None:
        assert batch.spans is not None
        data = batch.spans.data
        self.batches.append(len(batch))
        self.keys += self.table.names(batch.ids)
        self.lines += [data[start:end] for start, _, end in batch.spans.table.tolist()]
        self.numbers += zip(batch.timestamps.tolist(), batch.values.tolist(), strict=True)

    def answer(self, command: bytes) -> None:
        self.answered.append((command, len(self.lines)))

    def wrong(self, bad: BadInput, lines: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + lines

    def feed(self, *chunks: bytes) -> Reader:
        for chunk in chunks:
            self.codec.feed(self.tail, chunk, NOW, self.wrong)
        self.codec.flush()
        return self

    def datagrams(self, *datagrams: bytes) -> Reader:
        """Read them as the kernel reader joins them."""
        joined = [each if each.endswith(b"\n") else each + b"\n" for each in datagrams if each]
        ends = list(accumulate(map(len, joined)))
        self.codec.datagram(b"".join(joined), NOW, self.wrong, lambda position: ends[bisect_right(ends, position)])
        self.codec.flush()
        return self


class RelayCodecContract:
    twins: tuple[ModuleType, ModuleType]
    arcs: ModuleType
    assertEqual: Any
    assertRaises: Any
    assertIs: Any
    assertLess: Any
    assertTrue: Any

    def reader(self, dialect: Dialect, **options: Any) -> Reader:
        return Reader(self.twins, dialect, **options)

    def test_reads_every_recorded_datagram_of_statsrelay(self) -> None:
        for name, validate in (("validation_each_line_udp", True), ("no_validation_each_line_udp", False)):
            scenario = SCENARIOS[name]
            for strict in (True, False):
                reader = self.reader(statsd_lines(validate, strict=strict))
                reader.datagrams(*(step["send"].encode() for step in scenario["steps"]))
                received = scenario["backend_received"][0].encode()
                self.assertEqual(b"".join(line + b"\n" for line in reader.lines), received)
                counter = "invalid_lines" if validate else "malformed_lines"
                self.assertTrue(f"{counter} gauge {sum(reader.bad.values())}\n" in scenario["status_after"])

    def test_strict_lines_end_their_stream_or_datagram(self) -> None:
        scenario = SCENARIOS["tcp_bad_line_closes"]
        got: list[bytes] = []
        for step in scenario["steps"]:
            reader = self.reader(statsd_lines(strict=True))
            data = step["send"].encode()
            if step["proto"] == "tcp":
                reader.feed(data)
                self.assertEqual(reader.tail.broken, step["server_closed"])
                self.assertEqual(reader.feed(b"late:1|c\n").keys[-1:], reader.keys[-1:])
            else:
                reader.datagrams(data, b"next:1|c")
                self.assertEqual(reader.lines.pop(), b"next:1|c")
            self.assertEqual(sum(reader.bad.values()), 1)
            got += reader.lines
        self.assertEqual(b"".join(line + b"\n" for line in got), scenario["backend_received"][0].encode())

    def test_strict_about_tags_and_length(self) -> None:
        dialect = statsd_lines(strict=True)
        reader = self.reader(dialect).feed(b"a:1|c\nb.__host=x:1|c\nbad\nc:1|c\n")
        self.assertEqual((reader.lines, reader.bad, reader.tail.broken), ([b"a:1|c"], {"tag": 1}, True))
        reader = self.reader(dialect).datagrams(b"a:1|c\nb.__host=x:1|c\nc:1|c", b"d:1|c\nbad\ne:1|c", b"f:1|c")
        self.assertEqual((reader.lines, reader.bad), ([b"a:1|c", b"d:1|c", b"f:1|c"], {"tag": 1, "fields": 1}))
        reader = self.reader(dialect, max_line=8).feed(b"a:1|c\nlonger.than.that:1|c\nb:1|c\n")
        self.assertEqual((reader.lines, reader.bad, reader.tail.broken), ([b"a:1|c"], {"too_long": 1}, True))
        reader = self.reader(dialect, max_line=8).datagrams(b"a:1|c\nlonger.than.that:1|c\nb:1|c", b"c:1|c")
        self.assertEqual((reader.lines, reader.bad), ([b"a:1|c", b"c:1|c"], {"too_long": 1}))
        reader = self.reader(dialect, max_line=8).feed(b"longer.than", b".that:1|c\nb:1|c\n")
        self.assertEqual((reader.lines, reader.bad, reader.tail.broken), ([], {"too_long": 1}, True))

    def test_a_full_table_is_not_the_lines_fault(self) -> None:
        reader = self.reader(statsd_lines(strict=True))
        reader.table = reader.codec._table = self.twins[0].MetricTable(7, 45)
        reader.feed(b"a:1|c\nb:1|c\na:2|c\n")
        self.assertEqual((reader.lines, reader.bad), ([b"a:1|c", b"a:2|c"], {"table_full": 1}))

    def test_bad_lines_cost_no_good_one(self) -> None:
        reader = self.reader(statsd_lines()).feed(b"a:1|c\nbad\nb.__az=1:1|c\n\nx.__my=1:2|c\nb:1|q\nc:3|ms|@0.5\n")
        self.assertEqual(reader.lines, [b"a:1|c", b"x.__my=1:2|c", b"c:3|ms|@0.5"])
        self.assertEqual(reader.bad, {"fields": 1, "tag": 1, "empty": 1, "type": 1})

    def test_tags_are_looked_for_once_per_key(self) -> None:
        asked: list[bytes] = []

        def refuses(key: bytes) -> bool:
            asked.append(key)
            return key == b"b"

        dialect = statsd_lines()
        reader = self.reader(Dialect(dialect.shape, dialect.read, refuses=refuses))
        reader.feed(b"a:1|c\nb:1|c\n" * 20)
        self.assertEqual((sorted(asked), reader.bad, len(reader.lines)), ([b"a", b"b"], {"tag": 20}, 20))
        reader.codec.forget(np.array([0], np.uint32))
        reader.feed(b"a:1|c\nb:1|c\n")
        self.assertEqual(len(asked), 3)

    def test_validate_tags_off(self) -> None:
        scenario = SCENARIOS["validate_tags_false"]
        reader = self.reader(statsd_lines(validate_tags=False)).datagrams(scenario["steps"][0]["send"].encode())
        self.assertEqual(reader.lines, [b"t.__host=x:1|c"])
        self.assertEqual(self.reader(statsd_lines(point_tag_regex=r"~(\w+)~")).feed(b"a~hos~:1|c\n").bad, {"tag": 1})

    def test_commands_are_answered_in_their_place(self) -> None:
        reader = self.reader(statsd_lines()).feed(b"a:1|c\nstat", b"us\nb:1|c\nshards\nstatus extra\nc:1|c\n")
        self.assertEqual(reader.answered, [(b"status", 1), (b"shards", 2)])
        self.assertEqual((len(reader.lines), reader.bad), (3, {"fields": 1}))
        reader = self.reader(statsd_lines(validate=False)).feed(b"status\n")
        self.assertEqual(reader.answered, [(b"status", 0)])
        self.assertEqual(self.reader(statsd_lines()).datagrams(b"status").bad, {"fields": 1})
        reader = self.reader(statsd_lines(strict=True)).feed(b"status\nbad\nstatus\n")
        self.assertEqual((reader.answered, reader.bad), ([(b"status", 0)], {"fields": 1}))

    def test_graphite_lines(self) -> None:
        data = b"a 1 2\nb 1 2 \r\nc 1\n  d\t1 2\ne nan 3\nf 1 2 3\n\xff 1 2\n"
        reader = self.reader(graphite_lines()).feed(data)
        self.assertEqual((reader.keys, reader.lines), ([b"a", b"b", b"d"], [b"a 1 2", b"b 1 2", b"d\t1 2"]))
        self.assertEqual(reader.bad, {"fields": 2, "nan": 1, "encoding": 1})
        reader = self.reader(graphite_lines(validate=False)).feed(data)
        self.assertEqual(reader.keys, [b"a", b"b", b"c", b"e", b"f", b"\xff"])
        self.assertEqual(reader.lines[1:3], [b"b 1 2 \r", b"c 1"])

    def test_numbers_of_graphite_lines(self) -> None:
        reader = self.reader(graphite_lines(), numbers=True, resolution=10).feed(b"a 1.5 -1\nb 2e1 17\nc 3 29.9\n")
        self.assertEqual(reader.numbers, [(1_700_000_500.0, 1.5), (10.0, 20.0), (20.0, 3.0)])
        reader = self.reader(graphite_lines()).feed(b"a 1.5 17\n")
        self.assertEqual(reader.numbers, [(0.0, 0.0)])

    def test_serves_other_stages(self) -> None:
        reader = self.reader(graphite_lines()).feed(b"a 1 2\n")
        reader.codec.serve(True, None)
        reader.feed(b"a 3 4\n")
        reader.codec.serve(False, self.arcs.Arcs(reader.table, NONE))
        reader.feed(b"b 5 6\nc 7 8\n")
        self.assertEqual(reader.numbers, [(0.0, 0.0), (4.0, 3.0), (0.0, 0.0), (0.0, 0.0)])
        self.assertEqual(reader.keys, [b"a", b"a", b"b", b"b"])
        self.assertEqual(reader.lines, [b"a 1 2", b"a 3 4", b"b 5 6", b"c 7 8"])
        with self.assertRaises(ValueError):
            self.reader(statsd_lines(), arcs=self.arcs.Arcs(reader.table, NONE))

    def test_lines_that_mean_now_get_the_time(self) -> None:
        lines = b"a-b 1 2\nc  1\t-1\r\nd 1 -1.5\ne -1 -2\nf x -1\n\xc2\xa0g\xc2\xa01 -1e0 \nh -1 3\ni 1 -1\n"
        read = self.reader(graphite_lines(), rows=3).feed(lines)
        wanted = [b"a-b 1 2", b"c  1\t1700000500", b"d 1 1700000500", b"e -1 -2", b"g 1 1700000500", b"h -1 3"]
        self.assertEqual(read.lines, [*wanted, b"i 1 1700000500"])
        self.assertEqual((read.bad, read.keys), ({"value": 1}, [b"a-b", b"c", b"d", b"e", b"g", b"h", b"i"]))
        read = self.reader(graphite_lines()).datagrams(b"a 1 -1", b"b 2 -1\rc 3 4")
        self.assertEqual(read.lines, [b"a 1 1700000500", b"b 2 1700000500", b"c 3 4"])
        read = self.reader(graphite_lines(), numbers=True).feed(b"a 1 -1\nb 1 -3\n")
        self.assertEqual((read.lines, read.numbers), ([b"a 1 1700000500.25", b"b 1 -3"], [(NOW, 1.0), (-3.0, 1.0)]))
        read = self.reader(graphite_lines(strict=True)).feed(b"a 1 -1\n")
        self.assertEqual(read.lines, [b"a 1 -1"])

    def test_datagrams_of_carbon_may_use_other_separators(self) -> None:
        reader = self.reader(graphite_lines()).datagrams(b"a 1 2\r\nb 1 2\rc 1 2", b"d 1 2")
        self.assertEqual(reader.lines, [b"a 1 2", b"b 1 2", b"c 1 2", b"d 1 2"])
        reader = self.reader(statsd_lines(validate=False)).datagrams(b"a:1\rb:2")
        self.assertEqual(reader.lines, [b"a:1\rb:2"])

    def test_cleans_as_cadent(self) -> None:
        reader = self.reader(graphite_lines(cleaning="cadent")).feed(
            b"a..b 1 2\na....b 1 2\n x,*(y){} 1 2 \r\na  1 2\na 1\na b 2\na 1 b\na 1 2 3\nm inf 2\n\n"
        )
        lines = [b"a.b 1 2", b"a..b 1 2", b"x___y___ 1 2", b"a 1 2", b"a 1 2 3"]
        self.assertEqual((reader.lines, reader.keys), (lines, [line.split(b" ")[0] for line in lines]))
        self.assertEqual(reader.bad, {"fields": 1, "value": 1, "timestamp": 1, "nan": 1, "empty": 1})

    def test_cleans_as_carbon_c_relay(self) -> None:
        recorded = json.loads((DATA / "carbon" / "c_relay_cleansing.json").read_text())
        sent = b"".join(line.encode("latin-1") + b"\n" for line in recorded["sent"])
        expected = [line.encode("latin-1") for line in recorded["received_in_order"]]
        self.assertEqual(self.reader(graphite_lines(cleaning="c_relay")).feed(sent).lines, expected)
        one_by_one = self.reader(graphite_lines(cleaning="c_relay"))
        for line in sent.splitlines(keepends=True):
            one_by_one.feed(line)
        self.assertEqual(one_by_one.lines, expected)
        self.assertEqual(self.reader(graphite_lines(cleaning="c_relay")).feed(b"a .5 1\n").lines, [b"a .5 1"])

    def test_odd_lines_of_carbon_c_relay(self) -> None:
        odd = {
            b"a 1 2\r\r": [b"a 1 2"], b"\r\ra 1 2\rb 3 4": [b"a 1 2", b"b 3 4"], b" \t. .a 1 2": [b"a 1 2"],
            b"a . 2": [b"a 2"], b"a . .5 2": [b"a .5 2"], b"a ..x 2 .": [b"a x 2 ."], b"a .": [b"a "],
            b"a\x00b 1\x00 2\x00": [b"a_b 1_ 2_"], b"a;k=\x00 1 2": [b"a;k=_ 1 2"], b"a 1  .2": [b"a 1 .2"],
        }  # fmt: skip
        for line, wanted in odd.items():
            self.assertEqual(self.reader(graphite_lines(cleaning="c_relay")).feed(line + b"\n").lines, wanted)

    def test_strict_datagrams_are_told_apart_when_they_are_cleaned(self) -> None:
        reader = self.reader(graphite_lines(cleaning="cadent", strict=True))
        reader.datagrams(b"a..b 1 2\nbad\nc 1 2", b"d..e 1 2\nf 1 2")
        self.assertEqual((reader.lines, reader.bad), ([b"a.b 1 2", b"d.e 1 2", b"f 1 2"], {"fields": 1}))

    def test_regex_lines(self) -> None:
        dialect = regex_lines(r"^(?P<Timestamp>\S+ \S+) (?P<Key>[\w.]+) ", "2006-01-02 15:04:05")
        reader = self.reader(dialect, numbers=True).feed(
            b"2024-02-29 00:00:01 a.b took 5\r\n2024-02-30 00:00:00 x y\nnothing\n2024-03-01 00:00:00 c d\n"
        )
        self.assertEqual((reader.keys, reader.bad), ([b"a.b", b"c"], {"timestamp": 1, "fields": 1}))
        self.assertEqual(reader.lines, [b"2024-02-29 00:00:01 a.b took 5", b"2024-03-01 00:00:00 c d"])
        self.assertEqual(reader.numbers[0], (1709164801.0, 0.0))
        reader = self.reader(regex_lines(r"(?P<Timestamp>\S+) (?P<Key>\S+)"))
        reader.feed(b"17 k\nxx k\nnan k\n\xff \xfe\n17 \xfe\n")
        self.assertEqual((reader.keys, reader.bad), ([b"k", b"\xfe"], {"timestamp": 3}))
        with self.assertRaises(ValueError):
            regex_lines("(a)")

    def test_gathers_small_reads_and_hands_on_large_ones_as_they_are(self) -> None:
        reader = self.reader(statsd_lines(), rows=10_000)
        reader.feed(b"a:1|c\n", b"b:1|c\nc:", b"1|c\n")
        self.assertEqual((reader.batches, reader.lines), ([3], [b"a:1|c", b"b:1|c", b"c:1|c"]))
        large = b"%0100d:1|c\n" % 7 * (GATHER_BYTES // 100)
        seen: list[Batch] = []
        reader.codec._emit = seen.append
        reader.codec.feed(reader.tail, b"d:1|c\n", NOW, reader.wrong)
        reader.codec.feed(reader.tail, large, NOW, reader.wrong)
        self.assertEqual(([len(batch) for batch in seen], reader.codec.pending), ([1, GATHER_BYTES // 100], 0))
        self.assertIs(seen[1].spans and seen[1].spans.data, large)

    def test_keeps_no_bytes_of_bad_lines(self) -> None:
        reader = self.reader(statsd_lines())
        for _ in range(200):
            reader.codec.feed(reader.tail, b"x" * 10_000 + b"\n", NOW, reader.wrong)
            self.assertLess(sum(map(len, reader.codec._parts)), 2 * GATHER_BYTES)

    def test_streams_cut_anywhere_give_the_same(self) -> None:
        rng = random.Random(5)
        pieces = [b"a:1|c\n", b"bb:2|ms|@0.1\n", b"bad\n", b"\n", b"x" * 70 + b":1|c\n", b"c.__host=1:1|c\n", b"d:1\n"]
        data = b"".join(rng.choice(pieces) for _ in range(300))
        whole = self.reader(statsd_lines(), max_line=60).feed(data)
        by_byte = self.reader(statsd_lines(), max_line=60).feed(*(data[i : i + 1] for i in range(len(data))))
        cuts = sorted(rng.sample(range(len(data)), 40))
        at_random = self.reader(statsd_lines(), max_line=60).feed(
            *(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
        )
        for other in (by_byte, at_random):
            self.assertEqual((other.lines, other.keys, other.bad), (whole.lines, whole.keys, whole.bad))
        self.assertEqual(len(whole.lines) + sum(whole.bad.values()), data.count(b"\n"))

    def test_hostile_bytes_of_every_dialect(self) -> None:
        dialects = [statsd_lines(), statsd_lines(strict=True), statsd_lines(validate=False), graphite_lines(),
                    graphite_lines(cleaning="cadent"), graphite_lines(cleaning="c_relay"),
                    graphite_lines(validate=False), regex_lines(r"(?P<Key>\w+)")]  # fmt: skip
        pieces = st.sampled_from([b"a", b":1|c", b" 1 2", b"\n", b"\r", b"..", b"  ", b"\xff", b"\0", b"x" * 30, b";"])
        datagrams = st.lists(st.lists(pieces, max_size=12).map(b"".join), max_size=8)

        @settings(max_examples=150, deadline=None, database=None, print_blob=True)
        @given(datagrams, st.sampled_from(dialects), st.booleans())
        def check(chunks: list[bytes], dialect: Dialect, in_datagrams: bool) -> None:
            reader = self.reader(dialect, max_line=40)
            if in_datagrams:
                reader.datagrams(*chunks)
            else:
                reader.feed(*chunks)
                data = b"".join(chunks)
                seen = len(reader.lines) + sum(reader.bad.values())
                self.assertTrue(dialect.strict or data.count(b"\n") <= seen <= data.count(b"\n") + 1)

        check()

    def test_a_plain_tail_is_not_its_own(self) -> None:
        reader = self.reader(statsd_lines())
        reader.codec.feed(Tail(), b"a:1|c\n", NOW, reader.wrong)
        self.assertEqual(reader.codec.pending, 0)
        with self.assertRaises(ValueError):
            RelayCodec(reader.table, Columns(4), reader.take, statsd_lines())


class PythonRelayCodecTests(RelayCodecContract, unittest.SynchronousTestCase):
    """On the readable twins."""

    twins = (python_twin("table"), python_twin("relaylines"))
    arcs = python_twin("arcs")


class NativeRelayCodecTests(RelayCodecContract, unittest.SynchronousTestCase):
    """On the compiled twins."""

    if native_twin("relaylines") is None:
        skip = "the native kernel is not built"
    else:
        twins = (native_twin("table"), native_twin("relaylines"))  # type: ignore[assignment]
        arcs = native_twin("arcs")  # type: ignore[assignment]
