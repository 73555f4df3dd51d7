from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.kernels.ceresformat import slice_name
from cadtwist.storage.ceresread import Slice, aggregated, read_node, read_points, slices_in

DATA = Path(__file__).parent.parent / "data" / "ceres"
RECORDED = json.loads((DATA / "sequence.json").read_text())
NAN = float("nan")


def folder_of(node: str) -> bytes:
    return os.fsencode(DATA / "tree" / node.replace(".", "/"))


def plain(values: np.ndarray) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


class RecordingsTests(SynchronousTestCase):
    def test_slices(self) -> None:
        for node, expected in RECORDED["slice_info_newest_first"].items():
            found = [[one.start, one.end, one.step] for one in slices_in(folder_of(node))]
            self.assertEqual(found, expected, node)

    def test_fetches(self) -> None:
        for case in RECORDED["fetches"]:
            if "error" in case:
                continue
            folder, expected = folder_of(case["node"]), case["result"]
            node = read_node(folder)
            start, end = (case[key] - case[key] % node.step for key in ("from", "until"))
            self.assertEqual((start, end), (expected["startTime"], expected["endTime"]))
            step, values = read_points(folder, slices_in(folder), start, end, node.step, node.method)
            self.assertEqual((step, plain(values)), (expected["timeStep"], expected["values"]), case)

    def test_aggregation(self) -> None:
        for case in RECORDED["aggregateSeries"]:
            values = np.array([NAN if value is None else value for value in case["values"]])
            found = aggregated(values, case["new"] // case["old"], case["method"])
            self.assertEqual(plain(found), case["result"], case)


def literal(folder: Path, slices: list[Slice], start: int, end: int, step: int) -> tuple[int, list[float | None]]:
    """Say slowly, value by value, what the reader says in columns: sums, as the format's own reader makes them."""
    result: list[float | None] = []
    boundary = earliest = None
    for one in slices:
        stop = boundary if boundary is not None and end > boundary else end
        begin = max(start, one.start)
        if start < one.start and end < one.start:
            boundary = one.start
            continue
        if (begin - one.start) // one.step >= one.points:
            if start >= one.start:
                break
            continue
        data = (folder / slice_name(one.start, one.step).decode()).read_bytes()
        first = (begin - one.start) // one.step
        count = max(0, min((stop - begin) // one.step, one.points - first))
        values = [None if v != v else v for (v,) in struct.iter_unpack("!d", data[8 * first : 8 * (first + count)])]
        behind = begin + count * one.step
        if one.step != step:
            if not result:
                step = one.step
            elif one.step < step:
                values = in_groups(values, step // one.step)
            else:
                result, step = in_groups(result, one.step // step), one.step
        result = values + [None] * ((stop - behind) // step) + result
        earliest = begin
        if start >= one.start:
            break
        boundary = one.start
    if earliest is None:
        return step, [None] * ((end - start) // step)
    return step, [None] * ((earliest - start) // step) + result


def in_groups(values: list[float | None], factor: int) -> list[float | None]:
    groups = [values[at : at + factor] for at in range(0, len(values), factor)]
    return [sum(v for v in group if v is not None) if any(v is not None for v in group) else None for group in groups]


SLICES = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from([10, 10, 60]), st.lists(st.sampled_from([1.0, 2.0, NAN]), max_size=9)
    ),
    max_size=6,
)


class ReadPointsTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(SLICES, st.integers(0, 60), st.integers(0, 60))
    def test_any_slices(self, made: list[tuple[int, int, list[float]]], start: int, length: int) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for at, step, values in made:
            name = slice_name(at * 10, step).decode()
            (folder / name).write_bytes(struct.pack(f"!{len(values)}d", *values))
        slices = slices_in(os.fsencode(folder))
        first, last = start * 10, (start + length) * 10
        step, found = read_points(os.fsencode(folder), slices, first, last, 10, "sum")
        self.assertEqual((step, plain(found)), literal(folder, slices, first, last, 10))

    def test_an_unknown_method_matters_only_where_points_are_combined(self) -> None:
        folder = folder_of("sub.metric")
        slices = slices_in(folder)
        self.assertEqual(len(read_points(folder, slices, 1700000040, 1700000160, 10, "median")[1]), 12)
        self.assertRaises(StorageError, read_points, folder, slices, 1699999740, 1700000160, 10, "median")

    def test_slices_that_vanish_ask_for_another_look(self) -> None:
        folder = self.mktemp()
        shutil.copytree(DATA / "tree" / "sub" / "metric", folder)
        slices = slices_in(os.fsencode(folder))
        os.unlink(os.path.join(folder, "1700000040@10.slice"))
        ask = (1699999980, 1700000060, 10, "max")
        self.assertRaises(FileNotFoundError, read_points, os.fsencode(folder), slices, *ask)
        step, values = read_points(os.fsencode(folder), slices_in(os.fsencode(folder)), *ask)
        self.assertEqual((step, plain(values)), (60, [59.0]))

    def test_other_files_are_no_slices(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in ("1@0.slice", "x@60.slice", "60@60.slices", "-60@60.slice", "60@60.slice", "9" * 30 + "@1.slice"):
            (folder / name).touch()
        self.assertEqual(slices_in(os.fsencode(folder)), [Slice(60, 60, 0)])
