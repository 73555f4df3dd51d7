"""Both twins of the whisper kernel: recordings, the whisper library as oracle, hostile files, full disks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

import numpy as np
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import whisperformat
from cadtwist.model import writejob
from cadtwist.model.consolidation import METHODS, method_number
from cadtwist.model.retention import parse_whisper_retention
from tests.twins import native_twin, python_twin

DATA = Path(__file__).parent.parent / "data" / "whisper"
NOW = 1_700_000_040
ONE = [(60, 1440)]
THREE = [(1, 60), (10, 30), (60, 20)]
# Points exactly one retention old: the recorded library lets them overwrite the newest slot, we do not.
DEVIATIONS = {
    ("single_updates_average", 16),
    ("single_updates_average", 19),
    ("update_many_average", 3),
    ("update_many_average", 7),
}


def archives_of(data: bytes) -> list[dict[int, float]]:
    """Return what each archive holds, by timestamp, wherever it lies in the ring."""
    count = struct.unpack_from("!L", data, 12)[0]
    found = []
    for number in range(count):
        offset, _step, points = struct.unpack_from("!3L", data, 16 + 12 * number)
        slots = struct.iter_unpack("!Ld", data[offset : offset + 12 * points])
        found.append({ts: value for ts, value in slots if ts})
    return found


def nan_safe(values: object) -> list[float | None]:
    return [None if value != value else value for value in values]  # type: ignore[attr-defined]


class TwinCase(SynchronousTestCase):
    """Gives each test the twin as `self.kernel` and an empty folder as `self.root`."""

    kernel: ModuleType

    def setUp(self) -> None:
        self.root = self.mktemp().encode()
        os.makedirs(self.root)

    def file(self, name: str = "file.wsp") -> bytes:
        return os.path.join(self.root, name.encode())

    def writer(self, *schemas: list[tuple[int, int]], **options: object) -> Writer:
        return Writer(self.kernel, self.root, schemas or (ONE,), options)


class Writer:
    """A kernel Writer with a job spelled as {name: [(timestamp, value), ...]}."""

    def __init__(self, kernel: ModuleType, root: bytes, schemas: object, options: dict[str, object]) -> None:
        self.inner = kernel.Writer(root, **options)
        for schema in schemas:  # type: ignore[attr-defined]
            self.inner.add_schema(schema, 0.5, 1)

    def write(
        self, job: dict[str, list[tuple[float, float]]], now: int = NOW, may_create: int = 1000, schema: int = 0,
        ids: list[int] | None = None,
    ) -> list[int]:  # fmt: skip
        names = [name.encode("utf-8", "surrogateescape") for name in job]
        points = [point for column in job.values() for point in column]
        statuses = np.full(len(names), 255, np.uint8)
        self.created = self.inner.write(
            b"".join(names),
            np.cumsum([0, *map(len, names)]).astype(np.uint32),
            np.array(range(len(names)) if ids is None else ids, np.uint32),
            np.full(len(names), schema, np.int32),
            np.cumsum([0, *map(len, job.values())]).astype(np.uint32),
            np.array([ts for ts, _value in points], np.float64),
            np.array([value for _ts, value in points], np.float64),
            now,
            may_create,
            statuses,
        )
        return [int(status) for status in statuses]


@contextmanager
def files_no_larger_than(size: int):  # type: ignore[no-untyped-def]
    """Make the kernel refuse writes beyond `size` with EFBIG, which stands for a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


class RecordingsMixin:
    def sequences(self):  # type: ignore[no-untyped-def]
        for path in sorted(DATA.rglob("sequence.json")):
            yield path.parent, str(path.parent.relative_to(DATA)), json.loads(path.read_text())

    def apply(self, step: dict, file: bytes) -> str:  # type: ignore[type-arg]
        kernel = self.kernel
        try:
            if step["op"] == "update":
                kernel.update(file, step["ts"], step["value"], step["now"])
            elif step["op"] == "update_many":
                points = step["points"]
                kernel.update_many(file, [ts for ts, _value in points], [value for _ts, value in points], step["now"])
            elif step["op"] == "set_agg":
                kernel.set_metadata(file, method_number(step["method"]), step.get("xff", -1.0))
            else:
                kernel.set_metadata(file, 0, step["xff"])
        except kernel.NotCoveredError:
            return "TimestampNotCovered"
        except ValueError:
            return "InvalidAggregationMethod" if step["op"] == "set_agg" else "InvalidXFilesFactor"
        return "ok"

    def test_each_recorded_step_gives_the_recorded_file(self) -> None:
        seen = 0
        for folder, name, sequence in self.sequences():
            before = folder / "00_created.wsp"
            for step in sequence["steps"]:
                file = self.file()
                if os.fsencode(before) != file:
                    shutil.copy(before, file)
                self.assertEqual(self.apply(step, file), step["result"], (name, step["step"]))
                if "file" not in step:  # only the last of these steps has its file recorded
                    before = Path(os.fsdecode(file))
                    continue
                before = folder / step["file"]
                written, recorded = Path(os.fsdecode(file)).read_bytes(), before.read_bytes()
                if (name, step["step"]) in DEVIATIONS:
                    self.assertNotEqual(written, recorded, (name, step["step"]))
                elif any(done["op"] == "update_many" for done in sequence["steps"]):
                    # Which interval became the base of an empty coarser archive followed the order of a Python set.
                    self.assertEqual(archives_of(written), archives_of(recorded), (name, step["step"]))
                else:
                    self.assertEqual(written, recorded, (name, step["step"]))
                seen += 1
        self.assertGreater(seen, 80)

    def test_creates_the_recorded_file(self) -> None:
        for folder, name, sequence in self.sequences():
            for allocate in range(3):
                file = self.file(f"{allocate}.wsp")
                method = method_number(sequence["aggregationMethod"])
                archives = [tuple(archive) for archive in sequence["archives"]]
                self.kernel.create(file, archives, sequence["xFilesFactor"], method, allocate)
                recorded = (folder / "00_created.wsp").read_bytes()
                self.assertEqual(Path(os.fsdecode(file)).read_bytes(), recorded, name)
                os.unlink(file)

    def test_fetches_what_was_recorded(self) -> None:
        seen = 0
        for folder, name, sequence in self.sequences():
            last = sequence["steps"][-1]["file"] if sequence["steps"] else "00_created.wsp"
            for fetch in sequence["fetches_on_final_file"]:
                self.check_fetch(os.fsencode(folder / last), fetch, name)
                seen += 1
        self.assertGreater(seen, 50)

    def check_fetch(self, file: bytes, fetch: dict, name: str) -> None:  # type: ignore[type-arg]
        step = parse_whisper_retention(f"{fetch['archive']}:1").step if "archive" in fetch else 0
        until = fetch["now"] if fetch["until"] is None else int(fetch["until"])
        arguments = (file, int(fetch["from"]), until, fetch["now"], step)
        if "error" in fetch:
            with self.assertRaises(ValueError):
                self.kernel.fetch(*arguments)
            return
        found = self.kernel.fetch(*arguments)
        if fetch["result"] is None:
            self.assertIsNone(found, (name, fetch))
        else:
            self.assertEqual(list(found[:3]), fetch["result"]["timeInfo"], (name, fetch))
            self.assertEqual(nan_safe(found[3].tolist()), fetch["result"]["values"], (name, fetch))

    def test_a_point_one_retention_old_goes_to_the_next_archive(self) -> None:
        file = self.file()
        self.kernel.create(file, THREE, 0.5, 1)
        self.kernel.update(file, NOW, 1.0, NOW)
        self.kernel.update(file, NOW - 60, 2.0, NOW)
        self.assertEqual(self.kernel.update_many(file, [NOW - 300, NOW - 1200], [3.0, 4.0], NOW), 1)
        finest, middle, coarse = archives_of(Path(os.fsdecode(file)).read_bytes())
        self.assertEqual(finest, {NOW: 1.0})
        self.assertEqual(middle, {NOW - 60: 2.0})
        self.assertEqual(coarse, {(NOW - 300) // 60 * 60: 3.0})


class OracleMixin:
    def test_random_sequences_give_the_library_s_files(self) -> None:
        @settings(max_examples=60, deadline=None, database=None)
        @given(
            st.sampled_from(METHODS),
            st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
            st.sampled_from([ONE, THREE, [(1, 10), (5, 8)], [(2, 20), (4, 30), (20, 30)]]),
            st.lists(
                st.tuples(
                    st.integers(0, 90),
                    st.lists(st.tuples(st.integers(-3, 1300), st.floats(-1e300, 1e300)), min_size=1, max_size=25),
                ),
                min_size=1,
                max_size=8,
            ),
        )
        def check(method: str, xff: float, archives: list[tuple[int, int]], jobs: list) -> None:  # type: ignore[type-arg]
            ours, theirs = self.file("ours.wsp"), self.file("theirs.wsp")
            for path in (ours, theirs):
                if os.path.exists(path):
                    os.unlink(path)
            self.kernel.create(ours, archives, xff, method_number(method))
            whisper.create(os.fsdecode(theirs), list(archives), xff, method)
            now, edges = NOW, {step * points for step, points in archives}
            for elapsed, ages in jobs:
                now += elapsed
                points = [(now - age, value) for age, value in ages if age not in edges]
                if points:
                    self.kernel.update_many(ours, *zip(*points, strict=True), now)
                    whisper.update_many(os.fsdecode(theirs), points, now)
            found, expected = (Path(os.fsdecode(path)).read_bytes() for path in (ours, theirs))
            self.assertEqual(found[: 16 + 12 * len(archives)], expected[: 16 + 12 * len(archives)])
            self.assertEqual(archives_of(found), archives_of(expected))

        check()

    def test_single_archive_and_single_points_are_equal_byte_by_byte(self) -> None:
        @settings(max_examples=30, deadline=None, database=None)
        @given(
            st.sampled_from([[(1, 30)], THREE]),
            st.lists(st.tuples(st.integers(0, 40), st.integers(0, 500)), max_size=40),
        )
        def check(archives: list[tuple[int, int]], updates: list[tuple[int, int]]) -> None:
            ours, theirs = self.file("ours.wsp"), self.file("theirs.wsp")
            for path in (ours, theirs):
                if os.path.exists(path):
                    os.unlink(path)
            self.kernel.create(ours, archives, 0.5, 1)
            whisper.create(os.fsdecode(theirs), list(archives), 0.5, "average")
            now = NOW
            for number, (elapsed, age) in enumerate(updates):
                now += elapsed
                if age in {step * points for step, points in archives}:
                    continue
                outcomes = []
                for update in (
                    lambda age=age, now=now, n=number: self.kernel.update(ours, now - age, n, now),
                    lambda age=age, now=now, n=number: whisper.update(os.fsdecode(theirs), n, now - age, now),
                ):
                    try:
                        update()
                        outcomes.append(True)
                    except (self.kernel.NotCoveredError, whisper.TimestampNotCovered):
                        outcomes.append(False)
                self.assertEqual(outcomes[0], outcomes[1])
            self.assertEqual(Path(os.fsdecode(ours)).read_bytes(), Path(os.fsdecode(theirs)).read_bytes())

        check()

    def test_fetches_as_the_library_does(self) -> None:
        file = self.file()
        self.kernel.create(file, THREE, 0.0, 1)
        ages = list(range(0, 1200, 7))
        self.kernel.update_many(file, [NOW - age for age in ages], [float(age) for age in ages], NOW)

        @settings(max_examples=150, deadline=None, database=None)
        @given(
            st.integers(-50, 1500),
            st.integers(-50, 1500),
            st.integers(-5, 400),
            st.sampled_from([0, 1, 10, 60]),
        )
        def check(a: int, b: int, later: int, step: int) -> None:
            start, end = NOW - max(a, b), NOW - min(a, b)
            found = self.kernel.fetch(file, start, end, NOW + later, step)
            expected = whisper.fetch(os.fsdecode(file), start, end, NOW + later, step or None)
            if expected is None:
                self.assertIsNone(found)
            else:
                self.assertEqual(found[:3], expected[0])
                self.assertEqual(nan_safe(found[3].tolist()), expected[1])

        check()


class WriterMixin:
    def test_creates_within_the_budget_and_writes(self) -> None:
        writer = self.writer(max_open=2)
        job = {f"servers.web{i}.cpu": [(NOW, float(i))] for i in range(5)}
        self.assertEqual(writer.write(job, may_create=3), [1, 1, 1, 2, 2])
        self.assertEqual(writer.created, 3)
        self.assertEqual(writer.write(job, may_create=5), [0, 0, 0, 1, 1])
        for i in range(5):
            found = self.kernel.fetch(self.file(f"servers/web{i}/cpu.wsp"), NOW - 60, NOW, NOW)
            self.assertEqual(found[3].tolist(), [float(i)])
        self.assertEqual([name for name in os.listdir(self.root) if name != b"servers"], [])
        self.assertLessEqual(writer.inner.open_files, 2)

    def test_writers_in_threads_make_files_of_one_folder(self) -> None:
        def made(lane: int) -> list[int]:
            writer = self.writer()
            names = [f"{lane}-{i}" for i in range(100)]
            return [writer.write({name: [(NOW, float(lane))]})[0] for name in names]

        with ThreadPoolExecutor(4) as lanes:
            self.assertEqual(list(lanes.map(made, range(4))), [[1] * 100] * 4)
        for name in os.listdir(self.root):
            lane = float(name.partition(b"-")[0])
            found = self.kernel.fetch(os.path.join(self.root, name), NOW - 60, NOW, NOW)
            self.assertEqual(found[3].tolist(), [lane], name)

    def test_writes_what_update_many_writes(self) -> None:
        points = [(NOW - age, float(age)) for age in range(1500, -5, -1)]
        for archives in (ONE, THREE):
            writer = self.writer(archives)
            writer.write({"a.b": points})
            self.kernel.create(self.file(), archives, 0.5, 1)
            self.kernel.update_many(self.file(), *zip(*points, strict=True), NOW)
            self.assertEqual(
                Path(os.fsdecode(self.file("a/b.wsp"))).read_bytes(),
                Path(os.fsdecode(self.file())).read_bytes(),
            )
            os.unlink(self.file())
            os.unlink(self.file("a/b.wsp"))

    def test_the_last_whole_ring_of_a_long_future_run_stays_inside_its_archive(self) -> None:
        writer = self.writer([(1, 60), (10, 30)])
        points = [(NOW + i, float(i)) for i in range(500)]
        self.assertEqual(writer.write({"a": points}), [1])
        finest, _coarse = archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes())
        self.assertEqual(finest, dict(points[-60:]))
        self.assertEqual(os.path.getsize(self.file("a.wsp")), 40 + 12 * 90)

    def test_of_equal_seconds_the_first_counts(self) -> None:
        writer = self.writer()
        writer.write({"a": [(NOW, 1.0), (NOW + 0.25, 2.0), (NOW + 1, 3.0), (NOW + 1.5, 4.0)]})
        found = archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes())
        self.assertEqual(found, [{NOW: 3.0}])

    def test_too_old_points_are_told_and_counted(self) -> None:
        writer = self.writer([(60, 10)])
        writer.write({"a": [(NOW, 1.0)]})
        self.assertEqual(writer.write({"a": [(NOW - 600, 1.0), (NOW - 599, 2.0)]}), [0])
        self.assertEqual(writer.write({"a": [(NOW - 600, 1.0)]}), [3])
        self.assertEqual(writer.inner.counters()["late"], 2)
        self.assertEqual(writer.write({"a": [(-5.0, 1.0), (2.0**32, 1.0)]}), [3])

    def test_impossible_names(self) -> None:
        writer = self.writer()
        job = {name: [(NOW, 1.0)] for name in ("a\0b", "x" * 252, "", "ok.x", "y" * 251, "a." * 2100)}
        self.assertEqual(writer.write(job), [6, 6, 6, 1, 1, 6])
        self.assertEqual(writer.inner.counters()["bad_names"], 4)

    def test_no_name_leaves_the_root(self) -> None:
        writer = self.writer()
        job = {name: [(NOW, 1.0)] for name in ("../../up", "/etc/x", "a/../../../b", "..", "m;../x=../../y")}
        self.assertEqual(set(writer.write(job)), {1})
        found = [os.path.join(folder, name) for folder, _dirs, names in os.walk(self.root) for name in names]
        self.assertEqual(len(found), 5)

    def test_a_deleted_file_is_made_again_and_a_renamed_one_left_alone(self) -> None:
        writer = self.writer()
        writer.write({"a": [(NOW, 1.0)], "b": [(NOW, 1.0)]})
        os.unlink(self.file("a.wsp"))
        os.rename(self.file("b.wsp"), self.file("old.wsp"))
        old = Path(os.fsdecode(self.file("old.wsp"))).read_bytes()
        job = {"a": [(NOW + 60, 2.0)], "b": [(NOW + 60, 2.0)]}
        self.assertEqual(writer.write(job, may_create=1), [1, 2])
        self.assertEqual(writer.write(job), [0, 1])
        self.assertEqual(Path(os.fsdecode(self.file("old.wsp"))).read_bytes(), old)
        for name in ("a.wsp", "b.wsp"):
            self.assertEqual(archives_of(Path(os.fsdecode(self.file(name))).read_bytes()), [{NOW + 60: 2.0}])

    def test_a_file_replaced_or_resized_elsewhere_gets_the_points(self) -> None:
        writer = self.writer()
        writer.write({"a": [(NOW, 1.0)]})
        self.kernel.create(self.file("fresh"), [(60, 100), (300, 200)], 0.0, 1)
        os.rename(self.file("fresh"), self.file("a.wsp"))
        self.assertEqual(writer.write({"a": [(NOW + 60, 2.0)]}), [0])
        found = archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes())
        self.assertEqual(found[0], {NOW + 60: 2.0})
        self.assertEqual(len(found[1]), 1)
        self.assertIn((self.kernel.REPORT_MISMATCH, b"a", 0), writer.inner.reports())
        self.assertEqual(writer.inner.reports(), [])

    def test_a_recycled_id_never_writes_into_the_old_file(self) -> None:
        writer = self.writer()
        writer.write({"a": [(NOW, 1.0)]}, ids=[7])
        writer.write({"b": [(NOW, 2.0)]}, ids=[7])
        writer.write({"a": [(NOW + 60, 3.0)]}, ids=[9])
        self.assertEqual(archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes()), [{NOW: 1.0, NOW + 60: 3.0}])
        self.assertEqual(archives_of(Path(os.fsdecode(self.file("b.wsp"))).read_bytes()), [{NOW: 2.0}])

    def test_zero_byte_files_are_healed_and_damaged_ones_quarantined(self) -> None:
        writer = self.writer()
        writer.write({"good": [(NOW, 1.0)]})
        whole = Path(os.fsdecode(self.file("good.wsp"))).read_bytes()
        contents = {
            "zero": b"",
            "cut": whole[:-1],
            "short": whole[:20],
            "junk": b"\xff" * 20000,
            "head": whole[:28],
        }
        for name, data in contents.items():
            Path(os.fsdecode(self.file(f"{name}.wsp"))).write_bytes(data)
        os.mkdir(self.file("folder.wsp"))
        job = {name: [(NOW, 2.0)] for name in (*contents, "folder", "good")}
        self.assertEqual(writer.write(job), [1, 5, 5, 5, 5, 5, 0])
        for name in ("cut", "short", "junk", "head"):
            self.assertEqual(Path(os.fsdecode(self.file(f"{name}.wsp"))).read_bytes(), contents[name])
        counters = writer.inner.counters()
        self.assertEqual((counters["healed"], counters["quarantined"]), (1, 5))
        self.assertIn((self.kernel.REPORT_HEALED, b"zero", 0), writer.inner.reports())
        self.assertEqual(archives_of(Path(os.fsdecode(self.file("zero.wsp"))).read_bytes()), [{NOW: 2.0}])

    def test_every_flipped_or_cut_header_is_harmless(self) -> None:
        writer = self.writer([(1, 60), (10, 30)], max_open=4)
        writer.write({"a": [(NOW, 1.0)]})
        file = Path(os.fsdecode(self.file("a.wsp")))
        whole = file.read_bytes()
        for at in range(40):
            for flip in (0x01, 0x80, 0xFF):
                data = bytearray(whole)
                data[at] ^= flip
                os.unlink(self.file("a.wsp"))
                file.write_bytes(data)
                self.assertIn(writer.write({"a": [(NOW, 2.0), (NOW + 7, 3.0)]})[0], (0, 3, 5))
                self.assertEqual(file.stat().st_size, len(whole))

    def test_tagged_names(self) -> None:
        cases = json.loads((DATA.parent / "carbon" / "path_mapping.json").read_text())["results"]
        for case in cases:
            name = case["metric"].encode()
            self.assertEqual(self.kernel.relative_path(name, True).decode(), case["path_hashed"])
            self.assertEqual(self.kernel.relative_path(name, False).decode(), case["path_plain"])
        for size in (1, 54, 55, 56, 63, 64, 65, 119, 120, 500):
            name = b";" * size
            expected = python_twin("whisperfile").relative_path(name)
            self.assertEqual(self.kernel.relative_path(name), expected)

    def test_an_unhashed_tagged_file_is_renamed(self) -> None:
        plain, hashed = self.writer(hashed=False), self.writer(hashed=True)
        self.assertEqual(plain.write({"m;a=b": [(NOW, 1.0)]}), [1])
        self.assertEqual(hashed.write({"m;a=b": [(NOW + 60, 2.0)]}, may_create=0), [0])
        path = self.file(self.kernel.relative_path(b"m;a=b").decode())
        self.assertEqual(archives_of(Path(os.fsdecode(path)).read_bytes()), [{NOW: 1.0, NOW + 60: 2.0}])
        self.assertEqual(hashed.inner.counters()["renamed"], 1)

    def test_a_full_disk_is_tried_again_and_leaves_nothing_half(self) -> None:
        for allocate in range(3):
            writer = self.writer(allocate=allocate)
            with files_no_larger_than(8192):
                self.assertEqual(writer.write({"full.a": [(NOW, 1.0)]}), [4])
            self.assertEqual(os.listdir(self.file("full")), [])
            self.assertEqual(writer.write({"full.a": [(NOW, 1.0)]}), [1])
            with files_no_larger_than(1000):
                points = [(NOW + 60 * i, float(i)) for i in range(200)]
                self.assertEqual(writer.write({"full.a": points}), [4])
            found = archives_of(Path(os.fsdecode(self.file("full/a.wsp"))).read_bytes())
            self.assertEqual(found[0][NOW], 0.0 if len(found[0]) > 1 else 1.0)
            self.assertEqual(writer.write({"full.a": points}), [0])
            self.assertEqual(archives_of(Path(os.fsdecode(self.file("full/a.wsp"))).read_bytes()), [dict(points)])
            self.assertEqual(writer.inner.counters()["retried"], 2)
            shutil.rmtree(self.file("full"))

    def test_locked_flushed_random_access_writes_the_same(self) -> None:
        writer = self.writer(THREE, lock=True, flush=True, random=True)
        self.assertEqual(writer.write({"a": [(NOW, 1.0)]}), [1])
        self.assertEqual(writer.write({"a": [(NOW + 1, 2.0)]}), [0])
        self.assertEqual(archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes())[0], {NOW: 1.0, NOW + 1: 2.0})

    def test_a_changed_method_is_obeyed(self) -> None:
        writer = self.writer([(1, 60), (10, 30)])
        writer.write({"a": [(NOW + i, float(i)) for i in range(5)]})
        self.assertEqual(self.kernel.set_metadata(self.file("a.wsp"), method_number("max")), (1, 0.5))
        writer.write({"a": [(NOW + 5, 5.0)]})
        self.assertEqual(archives_of(Path(os.fsdecode(self.file("a.wsp"))).read_bytes())[1], {NOW: 5.0})

    def test_contradicting_columns_are_refused(self) -> None:
        inner = self.writer().inner
        good = [b"ab", [0, 2], [1], [0], [0, 1], [1.0], [1.0], NOW, 1, np.zeros(1, np.uint8)]
        for at, bad in (
            (1, [0, 3]),
            (1, [1, 2]),
            (3, [1]),
            (3, [-1]),
            (4, [0, 2]),
            (5, [1.0, 2.0]),
            (2, [1, 2]),
        ):
            job = [np.array(part) if isinstance(part, list) else part for part in good]
            job[at] = np.array(bad)
            with self.assertRaises(ValueError):
                inner.write(*job)

    def test_an_empty_job(self) -> None:
        writer = self.writer()
        self.assertEqual(writer.write({}), [])
        self.assertEqual(writer.write({"a": []}), [1])
        self.assertEqual(writer.write({"a": []}), [0])

    def test_schemas_no_file_can_have_are_refused(self) -> None:
        inner = self.writer().inner
        for archives, xff, method in (([], 0.5, 1), ([(60, 0)], 0.5, 1), ([(60, 10)], 1.5, 1), ([(60, 10)], 0.5, 9),
                                      ([(60, 2**31)], 0.5, 1), ([(60, 10), (90, 10)], 0.5, 1)):  # fmt: skip
            with self.assertRaises(ValueError):
                inner.add_schema(archives, xff, method)
        self.assertEqual(inner.schemas, 1)

    def test_statuses_and_counters(self) -> None:
        for status in (
            "WRITTEN",
            "CREATED",
            "WAITS_FOR_CREATE",
            "TOO_OLD",
            "RETRY",
            "QUARANTINED",
            "BAD_NAME",
        ):
            self.assertEqual(getattr(whisperformat, status), getattr(writejob, status))
        self.assertEqual(tuple(self.writer().inner.counters()), self.kernel.COUNTERS)


class PythonTwinTests(RecordingsMixin, OracleMixin, WriterMixin, TwinCase):
    kernel = python_twin("whisperfile")


class NativeTwinTests(RecordingsMixin, OracleMixin, WriterMixin, TwinCase):
    def setUp(self) -> None:
        kernel = native_twin("whisperfile")
        if kernel is None:
            raise SkipTest("the native whisperfile kernel is not built")
        self.kernel = kernel
        super().setUp()

    def test_the_oldest_descriptor_goes_first_and_kept_ones_are_reused(self) -> None:
        writer = self.writer(max_open=3)
        for name in "abcd":
            writer.write({name: [(NOW, 1.0)]}, ids=[ord(name)])
        writer.write({"b": [(NOW, 1.0)]}, ids=[ord("b")])
        writer.write({"a": [(NOW, 1.0)]}, ids=[ord("a")])
        counters = writer.inner.counters()
        self.assertEqual((counters["reused"], counters["opened"], counters["evicted"]), (1, 1, 2))
        writer.inner.close()
        self.assertEqual(writer.inner.open_files, 0)
        self.assertEqual(writer.write({"a": [(NOW, 1.0)]}, ids=[ord("a")]), [0])

    def test_out_of_descriptors_is_survived(self) -> None:
        writer = self.writer(max_open=1000)
        old = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, old[1]))
        try:
            statuses = writer.write({f"m{i}": [(NOW, 1.0)] for i in range(100)})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, old)
        self.assertEqual(set(statuses), {1})

    def test_twins_agree_on_random_jobs(self) -> None:
        other = python_twin("whisperfile")

        @settings(max_examples=25, deadline=None, database=None)
        @given(
            st.lists(
                st.dictionaries(
                    st.sampled_from(["a", "b.c", "b.d", "t;x=1", "e" * 300, "..f", "g."]),
                    st.lists(st.tuples(st.floats(-2000, 5e9), st.floats(allow_nan=False)), max_size=12),
                    min_size=1,
                ),
                min_size=1,
                max_size=6,
            ),
            st.integers(0, 5),
        )
        def check(jobs: list, may_create: int) -> None:  # type: ignore[type-arg]
            results = []
            for kernel in (self.kernel, other):
                root = self.file(f"{kernel.__name__}")
                shutil.rmtree(root, ignore_errors=True)
                writer = Writer(kernel, root, [THREE], {"max_open": 2})
                now, told = NOW, []
                for job in jobs:
                    now += 37
                    job = {name: sorted((now - age, v) for age, v in points) for name, points in job.items()}
                    told.append(writer.write(job, now, may_create))
                files = {
                    str(path.relative_to(os.fsdecode(root))): path.read_bytes()
                    for path in Path(os.fsdecode(root)).rglob("*")
                    if path.is_file()
                }
                counters = {
                    name: n for name, n in writer.inner.counters().items()
                    if name not in ("opened", "reused", "reopened", "evicted", "mismatched")
                }  # fmt: skip
                results.append((told, counters, files))
            self.assertEqual(results[0], results[1])

        check()


del TwinCase
