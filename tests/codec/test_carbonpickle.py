"""Every recorded pickle frame on both twins, in every cut; what a stranger sends costs nobody else anything."""

from __future__ import annotations

import collections
import json
import pickle
import random
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.codec.carbonpickle import PickleCodec
from cadtwist.codec.frames import Frames, frame
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns
from tests.twins import native_twin, python_twin

NOW = 1_700_000_000.5
RECORDED = json.loads((Path(__file__).parents[1] / "data/carbon/pickle_frames.json").read_text())

LIVES_ON = {
    "non iterable payload (int): exception, connection closed",
    "bytes metric name, protocol 3: exception, connection closed",
}
"""Recordings in which carbon closes the connection and we refuse one frame or element: one bad item costs itself."""


class Feeding:
    """A codec that writes down what it gives."""

    def __init__(self, kernel: ModuleType, table: ModuleType, rows: int = 16, max_bytes: int = 1 << 20) -> None:
        self.table = table.MetricTable(1)
        self.found: list[tuple[str, float, float]] = []
        self.bad: collections.Counter[str] = collections.Counter()
        self.codec = PickleCodec(self.table, Columns(rows), self.accept, 0, kernel)
        self.frames = Frames(max_bytes)

    def accept(self, batch: Batch) -> None:
        names = [name.decode() for name in self.table.names(batch.ids)]
        self.found += zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True)

    def refuse(self, bad: BadInput, items: int) -> None:
        assert len(bad.excerpt) <= 80
        self.bad[bad.kind] += items

    def feed(self, *parts: bytes) -> Feeding:
        for part in parts:
            self.codec.feed(self.frames, part, NOW, self.refuse)
        self.codec.flush()
        return self

    @property
    def seen(self) -> tuple[Any, ...]:
        return self.found, self.bad, self.frames.lost


class PickleCodecContract:
    kernel: ModuleType
    table: ModuleType

    def feeding(self, rows: int = 16, max_bytes: int = 1 << 20) -> Feeding:
        return Feeding(self.kernel, self.table, rows, max_bytes)

    def of(self, value: object, protocol: int = 2) -> Feeding:
        return self.feeding().feed(frame(pickle.dumps(value, protocol)))

    def test_one_list_named_a_thousand_times(self) -> None:
        """What a frame costs is bounded by its length, however often it refers to the same list."""
        for pair in ((1, 2), (1,), ("x", "y"), None):
            element = ["a", *[pair] * 5000]
            frame_bytes = frame(pickle.dumps([element] * 5000, 2))
            feeding = self.feeding(1024).feed(frame_bytes)
            self.assertLess(len(feeding.found) + sum(feeding.bad.values()), len(frame_bytes))

    def test_recordings(self) -> None:
        for case in RECORDED:
            feeding = self.feeding().feed(bytes.fromhex(case["hex"]))
            expected = [(name, float(when), float(what)) for name, (when, what) in case["datapoints"]]
            self.assertEqual(feeding.found, expected, case["desc"])
            closed = case["connection_after"] == "closed" and case["desc"] not in LIVES_ON
            self.assertEqual(feeding.frames.lost, closed, case["desc"])
            self.assertEqual(bool(feeding.bad), (len(expected) == 0 and case["desc"] != "empty list") or any(
                word in case["desc"] for word in ("skipped", "dropped")), case["desc"])  # fmt: skip

    def test_cuts_make_no_difference(self) -> None:
        stream = b"".join(bytes.fromhex(case["hex"]) for case in RECORDED if case["connection_after"] == "open")
        stream += bytes.fromhex(next(case["hex"] for case in RECORDED if case["hex"] == "00100001"))
        whole = self.feeding().feed(stream).seen
        self.assertTrue(whole[0])
        self.assertEqual(self.feeding().feed(*(stream[i : i + 1] for i in range(len(stream)))).seen, whole)
        dice = random.Random(5)
        for _ in range(20):
            places = sorted(dice.randrange(len(stream)) for _ in range(8))
            parts = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
            self.assertEqual(self.feeding().feed(*parts).seen, whole)

    def test_protocols_escapes_and_accents(self) -> None:
        names = ["a'b\\c", "ü.ö", "\U0001d518", "a\nb", "tab\there", 'q"q']
        for protocol in range(6):
            feeding = self.of([(name, (1, 2)) for name in names], protocol)
            self.assertEqual([name for name, _, _ in feeding.found], names, protocol)

    def test_several_points_of_one_name(self) -> None:
        feeding = self.of([("a", (1, 2), (3, 4)), ("b", (5, 6))])
        self.assertEqual(feeding.found, [("a", 1.0, 2.0), ("a", 3.0, 4.0), ("b", 5.0, 6.0)])

    def test_odd_elements_cost_themselves(self) -> None:
        good = ("ok", (17, 1))
        odd: list[tuple[object, str]] = [
            (5, "fields"),
            (("a",), "fields"),
            ((), "fields"),
            (("a", 5), "fields"),
            (("a", (1, 2, 3)), "fields"),
            ((b"a", (1, 2)), "name"),
            ((None, (1, 2)), "name"),
            (("", (1, "2")), "name"),
            (("a", (1, None)), "value"),
            (("a", (1, "x")), "value"),
            (("a", (1, "9" * 500)), "value"),
            (("a", (1, 10**390)), "value"),
            (("a", ([], 1)), "timestamp"),
            (("a", ("nan", 1)), "timestamp"),
            (("a", ("inf", 1)), "timestamp"),
            (("a", (1, "nan")), "nan"),
            (("a" * 20_000, (1, "1")), "name"),
            (("a", {1: 2}), "fields"),
            ({"a": (1, 2)}, "fields"),
        ]
        for element, kind in odd:
            for protocol in (3, 5) if kind == "name" else (0, 2, 5):
                feeding = self.of([good, element, good], protocol)
                self.assertEqual(feeding.found, [("ok", 17.0, 1.0)] * 2, element)
                self.assertEqual(dict(feeding.bad), {kind: 1}, element)

    def test_numbers_as_text_and_truth(self) -> None:
        feeding = self.of([("a", ("1700000000", "7.5")), ("b", (True, b"1_0")), ["c", [1, 2]], ("d", (1, 1 << 70))], 3)
        self.assertEqual(
            feeding.found, [("a", 1.7e9, 7.5), ("b", 1.0, 10.0), ("c", 1.0, 2.0), ("d", 1.0, float(1 << 70))]
        )

    def test_sets_and_other_containers(self) -> None:
        self.assertEqual(self.of({("a", (1, 2))}, 4).found, [("a", 1.0, 2.0)])
        self.assertEqual(self.of(frozenset({("a", (1, 2))}), 4).found, [("a", 1.0, 2.0)])
        self.assertEqual(dict(self.of({"a": (1, 2)}).bad), {"frame": 1})
        self.assertEqual(dict(self.of("text").bad), {"frame": 1})

    def test_nothing_is_executed(self) -> None:
        class Boom:
            def __reduce__(self) -> Any:
                return (exec, ("raise SystemExit",))

        for protocol in range(6):
            feeding = self.of([("ok", (1, 2)), Boom()], protocol)
            self.assertEqual((feeding.found, dict(feeding.bad)), ([], {"frame": 1}))
        feeding = self.of([collections.OrderedDict(a=1)])
        self.assertEqual(dict(feeding.bad), {"frame": 1})

    def test_bombs_stay_small(self) -> None:
        doubling = b"]" + b"q\x00" + b"".join(b"(h%ch%ct\x94" % (i, i) for i in range(200)) + b"."
        nested = b"(" * 200_000 + b"t" * 200_000 + b"."
        lists = b"]" * 400_000 + b"."
        self_holding = b"]q\x00h\x00a."
        keys = b"}q\x00)q\x01" + b"(h\x01h\x01tq\x01" * 500 + b"h\x00h\x01K\x01s."
        for bomb in (doubling, nested, lists, keys, self_holding, b"L" + b"9" * 100_000 + b"L\n."):
            feeding = self.feeding().feed(frame(bomb), frame(pickle.dumps([("ok", (1, 2))], 2)))
            self.assertEqual(feeding.found, [("ok", 1.0, 2.0)])
            self.assertTrue(feeding.bad)

    def test_full_columns_are_emitted_in_order(self) -> None:
        value = [(f"n{i}", (i, i)) for i in range(100)]
        for shape in (value, [[name, [str(when), what]] for name, (when, what) in value]):
            feeding = self.feeding(rows=7).feed(frame(pickle.dumps(shape, 2)))
            self.assertEqual(feeding.found, [(f"n{i}", float(i), float(i)) for i in range(100)])

    def test_minus_one_is_now(self) -> None:
        self.assertEqual(self.of([("a", (-1, 1)), ("b", ("-1.9", 1))]).found, [("a", NOW, 1.0), ("b", NOW, 1.0)])

    def test_the_limit_is_exact_and_final(self) -> None:
        payload = pickle.dumps([("a", (1, 2))], 2)
        good = self.feeding(max_bytes=len(payload)).feed(frame(payload), frame(payload))
        self.assertEqual((len(good.found), good.frames.lost), (2, False))
        lost = self.feeding(max_bytes=len(payload) - 1).feed(frame(payload), frame(b"]."))
        self.assertEqual((lost.found, lost.frames.lost, dict(lost.bad)), ([], True, {"frame": 1}))


class PythonPickleCodecTests(PickleCodecContract, SynchronousTestCase):
    kernel = python_twin("picklepoints")
    table = python_twin("table")


class NativePickleCodecTests(PickleCodecContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel, table = native_twin("picklepoints"), native_twin("table")
        if kernel is None or table is None:
            raise SkipTest("the native twin is not built")
        self.kernel, self.table = kernel, table

    def test_agrees_with_the_other_twin_on_damaged_frames(self) -> None:
        texts = st.text(max_size=6)
        scalars = st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts, st.binary(max_size=4)
        )
        plain = st.recursive(
            scalars,
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(texts, inner, max_size=2)
            ),
            max_leaves=12,
        )

        @settings(max_examples=150, deadline=None, database=None)
        @given(plain, st.integers(0, 5), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=2))
        def check(value: object, protocol: int, damage: list[tuple[int, int]]) -> None:
            data = bytearray(pickle.dumps([("a", (1, 2)), ("n", value), value], protocol))
            for place, byte in damage:
                data[place % len(data)] = byte
            stream = frame(bytes(data)) + frame(pickle.dumps([("ok", (1, 2))], protocol))
            native = self.feeding().feed(stream)
            python = Feeding(python_twin("picklepoints"), python_twin("table")).feed(stream)
            self.assertEqual(native.seen, python.seen)
            self.assertEqual(native.found[-1], ("ok", 1.0, 2.0))

        check()
