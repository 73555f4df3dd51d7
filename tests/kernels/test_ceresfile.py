"""Both twins of the ceres kernel: recordings, a plain model, slices that vanish, full disks."""

from __future__ import annotations

import json
import os
import struct
import time
from operator import itemgetter
from pathlib import Path
from types import ModuleType

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import ceresformat
from cadtwist.kernels.ceresformat import COUNTERS, properties_text, relative_folder
from cadtwist.model.writejob import (
    BAD_NAME,
    CREATED,
    QUARANTINED,
    RETRY,
    TOO_OLD,
    WAITS_FOR_CREATE,
    WRITTEN,
)
from tests.kernels.test_whisperfile import files_no_larger_than
from tests.twins import native_twin, python_twin

DATA = Path(__file__).parent.parent / "data" / "ceres"
NOW = 1_700_000_040
WEEK = [(60, 10080)]
Points = list[tuple[float, float]]


def contents(root: bytes) -> dict[str, bytes]:
    """Return all files below a folder."""
    found = {}
    for folder, _folders, files in os.walk(root):
        for file in files:
            path = os.path.join(folder, file)
            found[os.fsdecode(os.path.relpath(path, root))] = Path(os.fsdecode(path)).read_bytes()
    return found


def values_of(data: bytes) -> list[float | None]:
    return [None if value != value else value for (value,) in struct.iter_unpack("!d", data)]


class Job:
    """A kernel Writer with a job spelled as {name: [(timestamp, value), ...]}."""

    def __init__(self, kernel: ModuleType, root: bytes, *schemas: list[tuple[int, int]], **options: object) -> None:
        self.inner = kernel.Writer(root, **options)
        for schema in schemas or (WEEK,):
            self.inner.add_schema(schema, 0.5, "average")

    def write(
        self, job: dict[str, Points], now: int = NOW, may_create: int = 1000, schema: int = 0, first_id: int = 0
    ) -> list[int]:
        names = [name.encode("utf-8", "surrogateescape") for name in job]
        points = [point for column in job.values() for point in column]
        statuses = np.full(len(names), 255, np.uint8)
        self.created = self.inner.write(
            b"".join(names),
            np.cumsum([0, *map(len, names)]).astype(np.uint32),
            np.arange(first_id, first_id + len(names), dtype=np.uint32),
            np.full(len(names), schema, np.int32),
            np.cumsum([0, *map(len, job.values())]).astype(np.uint32),
            np.array([ts for ts, _value in points], np.float64),
            np.array([value for _ts, value in points], np.float64),
            now,
            may_create,
            statuses,
        )
        return [int(status) for status in statuses]


class TwinCase(SynchronousTestCase):
    """Gives each test the twin as `self.kernel` and an empty folder as `self.root`."""

    kernel: ModuleType

    def setUp(self) -> None:
        self.root = self.mktemp().encode()
        os.makedirs(self.root)

    def job(self, *schemas: list[tuple[int, int]], **options: object) -> Job:
        return Job(self.kernel, self.root, *schemas, **options)

    def slices(self, name: str = "a") -> dict[str, list[float | None]]:
        folder = os.path.join(self.root, relative_folder(name.encode()))
        return {file: values_of(data) for file, data in contents(folder).items() if file.endswith(".slice")}


class RecordingsMixin:
    def test_the_recorded_sequence_gives_the_recorded_files(self) -> None:
        recorded = json.loads((DATA / "sequence.json").read_text())
        job = self.job(max_gap=recorded["MAX_SLICE_GAP"])
        for step in recorded["log"]:
            node = step["node"]
            folder = os.path.join(self.root, relative_folder(node.encode()))
            if step["op"] == "createNode" and "files" in step:
                os.makedirs(folder)
                properties = step["properties"] or {"timeStep": 60}
                Path(os.fsdecode(folder), ".ceres-node").write_bytes(properties_text(properties))
            elif step["op"] == "store":
                points = [point for point in step["points"] if point[1] is not None]
                status = job.write({node: points}, may_create=0)
                self.assertEqual(status, [WRITTEN if step["result"] == "ok" else WAITS_FOR_CREATE], step["note"])
            else:
                continue
            if "files" in step:
                sizes = {file: len(data) for file, data in contents(folder).items() if "/" not in file}
                self.assertEqual(sizes, step["files"], step.get("note"))
        expected = {
            file: data
            for file, data in contents(os.fsencode(DATA / "tree")).items()
            if file.startswith(("plain/", "servers/", "sub/")) and "1699996440@60" not in file
        }
        self.assertEqual(contents(self.root), expected)

    def test_a_new_node_is_as_recorded(self) -> None:
        job = self.job([(60, 1440), (300, 2016)])
        self.assertEqual(job.write({"servers.web01.cpu": [(NOW, 1.0)]}), [CREATED])
        made = contents(self.root)
        recorded = (DATA / "tree" / "servers" / "web01" / "cpu" / ".ceres-node").read_bytes()
        self.assertEqual(made["servers/web01/cpu/.ceres-node"], recorded)
        self.assertEqual(sorted(made), ["servers/web01/cpu/.ceres-node", "servers/web01/cpu/1700000040@60.slice"])
        mode = os.stat(os.path.join(self.root, b"servers/web01/cpu/1700000040@60.slice")).st_mode
        self.assertEqual(mode & 0o777, 0o644)


class WritingMixin:
    def test_statuses_and_counters(self) -> None:
        job = self.job()
        points = [(NOW, 1.0)]
        self.assertEqual(job.write({"a": points, "b.c": points, "d": points}, may_create=2), [CREATED, CREATED, 2])
        self.assertEqual(job.created, 2)
        self.assertEqual(job.write({"a": points, "": points, "...": points, "x\0": points}), [WRITTEN, *[BAD_NAME] * 3])
        self.assertEqual(job.write({"a": [(-5.0, 1.0), (float("nan"), 1.0), (2.0**32, 1.0)]}), [TOO_OLD])
        counted = job.inner.counters()
        self.assertEqual(tuple(counted), COUNTERS)
        self.assertEqual(
            {
                what: counted[what]
                for what in ("updates", "points", "late", "created", "waiting", "bad_names", "slices")
            },
            {"updates": 3, "points": 3, "late": 3, "created": 2, "waiting": 1, "bad_names": 3, "slices": 2},
        )

    def test_gaps_up_to_the_bound_are_filled(self) -> None:
        job = self.job(max_gap=2)
        job.write({"a": [(NOW, 1.0)]})
        job.write({"a": [(NOW + 180, 2.0)]})
        job.write({"a": [(NOW + 420, 3.0)]})
        expected = {f"{NOW}@60.slice": [1.0, None, None, 2.0], f"{NOW + 420}@60.slice": [3.0]}
        self.assertEqual(self.slices(), expected)

    def test_no_gap_is_filled_where_none_may_be(self) -> None:
        job = self.job(max_gap=0)
        job.write({"a": [(NOW, 1.0), (NOW + 60, 2.0)]})
        job.write({"a": [(NOW + 120, 3.0)]})
        job.write({"a": [(NOW + 240, 4.0)]})
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [1.0, 2.0, 3.0], f"{NOW + 240}@60.slice": [4.0]})

    def test_points_out_of_order(self) -> None:
        self.job().write({"a": [(NOW + 60, 1.0), (NOW, 2.0), (NOW + 61, 3.0), (NOW + 1, 4.0), (NOW + 1, 5.0)]})
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [5.0, 3.0]})

    def test_a_node_keeps_its_own_step(self) -> None:
        self.job([(10, 360)]).write({"a": [(NOW, 1.0)]})
        job = self.job([(60, 1440)])
        self.assertEqual(job.write({"a": [(NOW + 10, 2.0)]}), [WRITTEN])
        self.assertEqual(self.slices(), {f"{NOW}@10.slice": [1.0, 2.0]})
        self.assertEqual(job.inner.reports(), [(ceresformat.REPORT_MISMATCH, b"a", 0)])

    def test_a_node_of_another_known_schema(self) -> None:
        job = self.job([(10, 360)], [(60, 1440)])
        job.write({"a": [(NOW, 1.0)]})
        self.assertEqual(job.write({"a": [(NOW + 10, 2.0)]}, schema=1), [WRITTEN])
        self.assertEqual(self.slices(), {f"{NOW}@10.slice": [1.0, 2.0]})
        self.assertEqual(job.inner.reports(), [(ceresformat.REPORT_MISMATCH, b"a", 0)])

    def test_a_node_within_the_folders_of_others(self) -> None:
        job = self.job()
        job.write({"a.b": [(NOW, 1.0)]})
        self.assertEqual(job.write({"a": [(NOW, 2.0)]}), [CREATED])
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [2.0], f"b/{NOW}@60.slice": [1.0]})

    def test_tagged_nodes(self) -> None:
        points = [(NOW, 1.0)]
        self.assertEqual(self.job(hashed=False).write({"m.x;a=b": points}), [CREATED])
        self.assertEqual(self.job().write({"m.x;a=b": points}), [WRITTEN])
        self.assertEqual(list(self.slices("m.x;a=b")), [f"{NOW}@60.slice"])
        self.assertEqual(len(contents(self.root)), 2)

    def test_half_a_point_at_the_end_is_written_over(self) -> None:
        job = self.job()
        job.write({"a": [(NOW, 1.0)]})
        path = Path(os.fsdecode(self.root), "a", f"{NOW}@60.slice")
        path.write_bytes(path.read_bytes() + b"\x40\x08")
        job.write({"a": [(NOW + 120, 3.0)]})
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [1.0, None, 3.0]})

    def test_an_empty_slice_is_filled(self) -> None:
        job = self.job()
        job.write({"a": []})
        Path(os.fsdecode(self.root), "a", f"{NOW}@60.slice").touch()
        job.write({"a": [(NOW + 60, 1.0)]})
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [None, 1.0]})

    def test_columns_that_contradict_each_other(self) -> None:
        writer = self.job().inner
        empty = np.zeros(0, np.float64)
        columns = np.zeros(2, np.uint32), np.zeros(1, np.uint32), np.zeros(1, np.int32), np.ones(2, np.uint32)
        self.assertRaises(ValueError, writer.write, b"", *columns, empty, empty, NOW, 0, np.zeros(1, np.uint8))
        self.assertRaises(ValueError, writer.add_schema, [], 0.5, "average")
        self.assertRaises(ValueError, writer.add_schema, [(0, 10)], 0.5, "average")


class FaultsMixin:
    """What others do to the files, and what goes wrong."""

    def test_slices_that_were_moved_cut_and_removed(self) -> None:
        """A kept node is looked at again when its folder has changed."""
        job = self.job()
        job.write({"a": [(NOW + 60 * n, n) for n in range(4)]})
        now = int(time.time()) + 10
        for changed in (lambda: None, self.roll_up, lambda: self.slice_path(NOW + 120).unlink()):
            job.write({"a": [(NOW + 240, 4.0)]}, now)
            changed()
            self.assertEqual(job.write({"a": [(NOW + 300, 5.0)]}, now), [WRITTEN])
        self.assertEqual(self.slices(), {f"{NOW + 300}@60.slice": [5.0]})
        counted = job.inner.counters()
        self.assertEqual((counted["reopened"], counted["vanished"]), (2, 0))
        self.assertEqual(counted["reused"], 3)

    def roll_up(self) -> None:
        """Do what a roll-up does: cut the first two points off and give the rest its new name."""
        path = self.slice_path(NOW)
        path.write_bytes(path.read_bytes()[16:])
        path.rename(self.slice_path(NOW + 120))

    def slice_path(self, start: int, step: int = 60) -> Path:
        return Path(os.fsdecode(self.root), "a", f"{start}@{step}.slice")

    def test_a_slice_that_vanishes_without_a_trace(self) -> None:
        """The folder looks as it did when it was read, but the slice is gone: the write begins again."""
        job = self.job()
        job.write({"a": [(NOW, 1.0)]})
        now = int(time.time()) + 10
        job.write({"a": [(NOW + 60, 2.0)]}, now)
        folder = os.path.join(self.root, b"a")
        before = os.stat(folder)
        self.slice_path(NOW).unlink()
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual(job.write({"a": [(NOW + 120, 3.0)]}, now), [WRITTEN])
        self.assertEqual(self.slices(), {f"{NOW + 120}@60.slice": [3.0]})
        self.assertEqual(job.inner.counters()["vanished"], 1)

    def test_a_node_that_was_deleted_is_made_again(self) -> None:
        job = self.job()
        now = int(time.time()) + 10
        for _again in range(2):
            self.assertEqual(job.write({"a": [(NOW, 1.0)]}, now), [CREATED])
            self.assertEqual(job.write({"a": [(NOW, 1.0)]}, now), [WRITTEN])
            self.slice_path(NOW).unlink()
            os.unlink(os.path.join(self.root, b"a/.ceres-node"))
            os.rmdir(os.path.join(self.root, b"a"))

    def test_an_id_that_means_another_metric_by_now(self) -> None:
        job = self.job()
        now = int(time.time()) + 10
        job.write({"a": [(NOW, 1.0)]}, now)
        job.write({"a": [(NOW + 60, 1.0)]}, now)
        self.assertEqual(job.write({"b": [(NOW, 2.0)]}, now), [CREATED])
        self.assertEqual(self.slices("b"), {f"{NOW}@60.slice": [2.0]})

    def test_nothing_is_kept_in_mind_where_nothing_may_be(self) -> None:
        now = int(time.time()) + 10
        for options in ({"keep_nodes": False}, {"max_nodes": 0}):
            job = self.job(**options)
            for n in range(3):
                job.write({"a": [(NOW + 60 * n, 1.0)]}, now)
            self.assertEqual(job.inner.counters()["reused"], 0)
        job = self.job(keep_slices=False)
        for n in range(3):
            job.write({"a": [(NOW + 60 * n, 2.0)]}, now)
        self.assertEqual(job.inner.counters()["reused"], 2)
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [2.0] * 3})

    def test_ids_of_a_lane(self) -> None:
        """Of four lanes one has every fourth id: its table has room for as many in a row."""
        job = self.job(max_nodes=8, lanes=4)
        now = int(time.time()) + 10
        for turn in range(3):
            for number in range(8):
                job.write({f"n{number}": [(NOW + 60 * turn, 1.0)]}, now, first_id=4 * number + 3)
        self.assertEqual(job.inner.counters()["reused"], 8)
        self.assertRaises(ValueError, self.job, lanes=0)

    def test_few_nodes_are_kept_in_mind(self) -> None:
        job = self.job(max_nodes=1)
        now = int(time.time()) + 10
        for n in range(3):
            self.assertNotIn(RETRY, job.write({"a": [(NOW + 60 * n, 1.0)], "b": [(NOW + 60 * n, 2.0)]}, now))
        self.assertEqual(self.slices("b"), {f"{NOW}@60.slice": [2.0] * 3})
        job.inner.close()
        self.assertEqual(job.write({"b": [(NOW + 180, 2.0)]}, now), [WRITTEN])

    def test_damaged_nodes(self) -> None:
        job = self.job()
        for name, text in (("a", b"{"), ("b", b"[]"), ("c", b"{}"), ("d", b'{"timeStep": 0}'), ("e", b"\xff" * 70000)):
            folder = Path(os.fsdecode(self.root), name)
            folder.mkdir()
            (folder / ".ceres-node").write_bytes(text)
            self.assertEqual(job.write({name: [(NOW, 1.0)]}), [QUARANTINED], name)
        self.assertEqual({report[0] for report in job.inner.reports()}, {ceresformat.REPORT_QUARANTINED})
        Path(os.fsdecode(self.root), "f").touch()
        self.assertEqual(job.write({"f.g": [(NOW, 1.0)]}), [QUARANTINED])

    def test_a_node_of_zero_bytes_is_made_whole(self) -> None:
        job = self.job()
        folder = Path(os.fsdecode(self.root), "a")
        folder.mkdir()
        (folder / ".ceres-node").touch()
        self.assertEqual(job.write({"a": [(NOW, 1.0)]}), [WRITTEN])
        self.assertEqual(job.inner.reports(), [(ceresformat.REPORT_HEALED, b"a", 0)])
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [1.0]})

    def test_a_full_disk_leaves_no_empty_slice(self) -> None:
        job = self.job()
        job.write({"a": []})
        with files_no_larger_than(0):
            self.assertEqual(job.write({"a": [(NOW, 1.0)], "b": [(NOW, 1.0)]}), [RETRY, RETRY])
        self.assertEqual(self.slices(), {})
        self.assertEqual(contents(self.root).keys(), {"a/.ceres-node"})
        self.assertEqual(job.write({"a": [(NOW, 1.0)], "b": [(NOW, 1.0)]}), [WRITTEN, CREATED])

    def test_locked_and_synced_writes(self) -> None:
        job = self.job(lock=True, flush=True)
        for n in range(3):
            job.write({"a": [(NOW + 60 * n, 1.0)]})
        self.assertEqual(self.slices(), {f"{NOW}@60.slice": [1.0] * 3})


class PythonRecordingsTests(RecordingsMixin, TwinCase):
    kernel = python_twin("ceresfile")


class PythonWritingTests(WritingMixin, TwinCase):
    kernel = python_twin("ceresfile")


class PythonFaultsTests(FaultsMixin, TwinCase):
    kernel = python_twin("ceresfile")


NATIVE = native_twin("ceresfile")
WHY = None if NATIVE else "the native kernel is not built"


class NativeRecordingsTests(RecordingsMixin, TwinCase):
    skip = WHY
    kernel = NATIVE


class NativeWritingTests(WritingMixin, TwinCase):
    skip = WHY
    kernel = NATIVE


class NativeFaultsTests(FaultsMixin, TwinCase):
    skip = WHY
    kernel = NATIVE


SECONDS = st.integers(NOW, NOW + 3000)
VALUES = st.floats(allow_nan=False, width=64)
ODD_TIMES = SECONDS | st.sampled_from([-1, -0.5, 0, 9, 2**32 - 1, 2**32, 1e18, float("inf"), float("nan")])
ODD_POINTS = st.lists(st.tuples(ODD_TIMES, st.floats()), max_size=4)
NAMES = st.text("ab./;=\0", max_size=6) | st.sampled_from(["a", "a.b", "m;t=1.5", "x" * 256, "\udcff", "é.b"])
WRITES = st.lists(st.lists(st.tuples(SECONDS, VALUES), max_size=12), min_size=1, max_size=8)


class ModelCase(SynchronousTestCase):
    """Writes in whatever order."""

    def written(self, kernel: ModuleType, writes: list[Points], max_gap: int, keeps: bool) -> bytes:
        """Return the root of a tree in which all was written to node `a`."""
        root = self.mktemp().encode()
        job = Job(kernel, root, [(10, 100)], max_gap=max_gap, keep_nodes=keeps)
        for number, points in enumerate(writes):
            self.assertEqual(job.write({"a": points}, NOW * 2), [WRITTEN if number else CREATED])
        return root

    def read(self, root: bytes) -> dict[int, float]:
        """Return all points; where slices overlap, the newer one counts."""
        found: dict[int, float] = {}
        slices = []
        for file, data in contents(os.path.join(root, b"a")).items():
            named = ceresformat.slice_of(file.encode())
            if named:
                slices.append((named[0], values_of(data)))
        for start, values in sorted(slices):
            found = {ts: value for ts, value in found.items() if ts < start}
            found.update({start + 10 * n: value for n, value in enumerate(values) if value is not None})
        return found


class PythonModelTests(ModelCase):
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(WRITES, st.integers(0, 30), st.booleans())
    def test_reads_back_like_a_dictionary(self, writes: list[Points], max_gap: int, keeps: bool) -> None:
        model = {ts - ts % 10: value for points in writes for ts, value in sorted(points, key=itemgetter(0))}
        self.assertEqual(self.read(self.written(python_twin("ceresfile"), writes, max_gap, keeps)), model)


class TwinsTests(ModelCase):
    skip = WHY

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(WRITES, st.integers(0, 30), st.booleans())
    def test_both_twins_make_the_same_files(self, writes: list[Points], max_gap: int, keeps: bool) -> None:
        made = [contents(self.written(kernel, writes, max_gap, keeps)) for kernel in (python_twin("ceresfile"), NATIVE)]
        self.assertEqual(*made)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(st.dictionaries(NAMES, ODD_POINTS, max_size=4), max_size=4),
        st.booleans(),
        st.integers(0, 3),
    )
    def test_both_twins_say_the_same_of_odd_jobs(
        self, jobs: list[dict[str, Points]], hashed: bool, may_create: int
    ) -> None:
        told = []
        for kernel in (python_twin("ceresfile"), NATIVE):
            root = self.mktemp().encode()
            job = Job(kernel, root, [(10, 100)], hashed=hashed)
            statuses = [job.write(points, NOW, may_create) for points in jobs]
            told.append((statuses, job.inner.counters(), job.inner.reports(), contents(root)))
        self.assertEqual(*told)

