"""Both twins write what carbon's relay writes."""

from __future__ import annotations

import json
import math
import pickle
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.codec.protobuf import decode_payload, encode_payload
from tests.twins import native_twin, python_twin

QUICK = settings(max_examples=100, deadline=None, database=None)
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "carbon" / "relay_wire.json").read_text())

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
floats = st.one_of(
    st.floats(allow_nan=True),
    st.floats(-1e6, 1e6),
    st.integers(-(1 << 70), 1 << 70).map(float),
    st.integers(-(10**12), 10**12).map(lambda n: n / 1e10),
    st.integers(0, 1 << 40).map(lambda n: (2 * n + 1) / 2**35 / 1e3),
)
stamps = st.one_of(st.floats(allow_nan=True), st.floats(0, 4e9), st.integers(-(1 << 66), 1 << 66).map(float))
points = st.lists(st.tuples(names, stamps, floats), max_size=60)

Point = tuple[str, float, float]


class Columns:
    """Datapoints as columns over a table of one twin."""

    def __init__(self, table: ModuleType, points: list[Point]) -> None:
        self.table = table.MetricTable(1)
        self.ids = np.array([self.table.intern(name.encode(), 0) for name, _, _ in points], np.uint32)
        self.timestamps = np.array([stamp for _, stamp, _ in points], np.float64)
        self.values = np.array([value for _, _, value in points], np.float64)

    @property
    def all(self) -> tuple[Any, ...]:
        return self.table, self.ids, self.timestamps, self.values


def as_carbon(value: float) -> str:
    """Write a float as carbon's line client does."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if math.isfinite(value) else f"{value:f}"


class EncodeContract:
    """What holds on each twin."""

    kernel: ModuleType
    table: ModuleType

    def columns(self, points: list[Point]) -> Columns:
        return Columns(self.table, points)

    def test_recorded_values(self: Any) -> None:
        for case in RECORDED["line_values"]:
            value = 1.0 if case["value"] == "True" else float(case["value"])
            if case["value"].lstrip("-").isdigit() and abs(int(case["value"])) > 1 << 53 and int(value) != int(
                case["value"]
            ):
                continue  # an integer that no double holds
            found = self.kernel.lines(*self.columns([("m.x", 1.7e9, value)]).all, None, True)
            self.assertEqual(found, case["line"].encode(), case)

    def test_recorded_lines(self: Any) -> None:
        columns = self.columns([(name, stamp, value) for name, (stamp, value) in RECORDED["datapoints"]])
        self.assertEqual(self.kernel.lines(*columns.all, None, True), RECORDED["line_batch"].encode())

    def test_recorded_pickles_with_all_numbers_floats(self: Any) -> None:
        recorded = [(name, tuple(point)) for name, point in RECORDED["datapoints"]]
        data = bytes.fromhex(RECORDED["pickle_batch_hex"])
        self.assertEqual(data[4:], pickle.dumps(recorded, 2))
        ours = [(name, (float(stamp), float(value))) for name, (stamp, value) in recorded]
        columns = self.columns([(name, stamp, value) for name, (stamp, value) in ours])
        [(frame, count)] = self.kernel.pickle_frames(*columns.all, None, 500)
        self.assertEqual((frame[4:], count), (pickle.dumps(ours, 2), 3))
        self.assertEqual(pickle.loads(frame[4:]), pickle.loads(data[4:]))

    def test_recorded_protobuf(self: Any) -> None:
        columns = self.columns([(name, stamp, value) for name, (stamp, value) in RECORDED["protobuf_datapoints"]])
        [(frame, count)] = self.kernel.protobuf_frames(*columns.all, None, 500)
        self.assertEqual((frame.hex(), count), (RECORDED["protobuf_batch_hex"], 4))

    def test_frames_are_bounded(self: Any) -> None:
        many = [(f"metric.{i}", float(i), i / 4) for i in range(2501)]
        columns = self.columns(many)
        for most in (1, 7, 500, 1000, 1001, 2500, 9999):
            frames = self.kernel.pickle_frames(*columns.all, None, most)
            self.assertEqual([count for _, count in frames], [len(many[i : i + most]) for i in range(0, 2501, most)])
            for at, (frame, count) in enumerate(frames):
                part = [(name, (stamp, value)) for name, stamp, value in many[at * most : at * most + count]]
                self.assertEqual(frame[4:], pickle.dumps(part, 2))
                self.assertEqual(struct.unpack(">I", frame[:4])[0], len(frame) - 4)
            found = self.kernel.protobuf_frames(*columns.all, None, most)
            got = [each for frame, _ in found for each in decode_payload(frame[4:])]
            self.assertEqual([name.decode() for name, _ in got], [name for name, _, _ in many])

    def test_rows_choose_and_order(self: Any) -> None:
        columns = self.columns([("a", 1.0, 1.0), ("b", 2.0, 2.0), ("c", 3.0, 3.0)])
        rows = np.array([2, 0, 2], np.intp)
        self.assertEqual(self.kernel.lines(*columns.all, rows, False), b"c 3 3\na 1 1\nc 3 3\n")
        [(frame, count)] = self.kernel.pickle_frames(*columns.all, rows, 9)
        self.assertEqual((count, pickle.loads(frame[4:])[1]), (3, ("a", (1.0, 1.0))))
        [(frame, _)] = self.kernel.protobuf_frames(*columns.all, rows, 9)
        self.assertEqual(decode_payload(frame[4:]), [(b"c", [(3.0, 3.0)] * 2), (b"a", [(1.0, 1.0)])])
        empty = np.zeros(0, np.intp)
        self.assertEqual(self.kernel.lines(*columns.all, empty, False), b"")
        self.assertEqual(self.kernel.pickle_frames(*columns.all, empty, 9), [])
        self.assertEqual(self.kernel.protobuf_frames(*columns.all, empty, 9), [])

    def test_texts_of_one_character_are_referred_to(self: Any) -> None:
        found = [(name, float(i), 0.0) for i, name in enumerate(["a", "é", "a", "é", "b", "ā", "ā"] * 80)]
        [(frame, _)] = self.kernel.pickle_frames(*self.columns(found).all, None, 1000)
        self.assertEqual(frame[4:], pickle.dumps([(str(n.encode(), "utf-8"), (t, v)) for n, t, v in found], 2))

    def test_what_cannot_be_encoded(self: Any) -> None:
        columns = self.columns([("a", 1.0, 1.0)])
        for name in ("lines", "pickle_frames", "protobuf_frames"):
            write = getattr(self.kernel, name)
            more = True if name == "lines" else 5
            self.assertRaises(IndexError, write, *columns.all, np.array([1], np.intp), more)
            self.assertRaises(IndexError, write, *columns.all, np.array([-1], np.intp), more)
            self.assertRaises(ValueError, write, *columns.all[:3], np.zeros(2), None, more)
            strange = np.array([77], np.uint32)
            self.assertRaises(KeyError, write, columns.table, strange, columns.timestamps, columns.values, None, more)
        for name in ("pickle_frames", "protobuf_frames"):
            self.assertRaises(ValueError, getattr(self.kernel, name), *columns.all, None, 0)
        columns.ids = np.array([columns.table.intern(b"bad\xff", 0)], np.uint32)
        self.assertRaises(UnicodeDecodeError, self.kernel.pickle_frames, *columns.all, None, 5)


class PythonEncodeTests(EncodeContract, SynchronousTestCase):
    kernel = python_twin("encode")
    table = python_twin("table")


class NativeEncodeTests(EncodeContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel, table = native_twin("encode"), native_twin("table")
        if kernel is None or table is None:
            raise SkipTest("native kernels are not built")
        self.kernel, self.table = kernel, table


class RandomTests(SynchronousTestCase):
    """Random datapoints, on every twin that there is."""

    def twins(self) -> list[tuple[ModuleType, ModuleType]]:
        native = native_twin("encode"), native_twin("table")
        found = [(python_twin("encode"), python_twin("table"))]
        return found if native[0] is None or native[1] is None else [*found, (native[0], native[1])]

    @QUICK
    @given(points)
    def test_lines_as_carbon_writes_them(self, found: list[Point]) -> None:
        text = "".join(
            f"{name} {as_carbon(value)} {int(stamp) if math.isfinite(stamp) else 0}\n" for name, stamp, value in found
        )
        for kernel, table in self.twins():
            self.assertEqual(kernel.lines(*Columns(table, found).all, None, False), text.encode())

    @QUICK
    @given(points, st.integers(1, 70))
    def test_pickles_as_the_standard_library_writes_them(self, found: list[Point], most: int) -> None:
        parts = [found[at : at + most] for at in range(0, len(found), most)]
        wanted = [
            (pickle.dumps([(str(name.encode(), "utf-8"), (stamp, value)) for name, stamp, value in part], 2), len(part))
            for part in parts
        ]
        for kernel, table in self.twins():
            frames = kernel.pickle_frames(*Columns(table, found).all, None, most)
            self.assertEqual([(frame[4:], count) for frame, count in frames], wanted)

    @QUICK
    @given(points)
    def test_protobuf_as_the_codec_writes_it(self, found: list[Point]) -> None:
        metrics: dict[bytes, list[tuple[float, float]]] = {}
        found = [each for each in found if not math.isfinite(each[1]) or abs(each[1]) < 1 << 63]
        for name, stamp, value in found:
            metrics.setdefault(name.encode(), []).append((stamp if math.isfinite(stamp) else 0.0, value))
        for kernel, table in self.twins():
            frames = kernel.protobuf_frames(*Columns(table, found).all, None, 1000)
            self.assertEqual([frame[4:] for frame, _ in frames], [encode_payload(metrics.items())] if found else [])
