"""Tests of the statfile kernel, on both twins; what istatd itself wrote is compared in tests.storage."""

from __future__ import annotations

import os
import resource
import struct
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.kernels import statformat as form
from cadtwist.kernels.statring import State
from tests.kernels.statjobs import Sample, gauge, job, summary
from tests.twins import native_twin, python_twin

T = 1325394000
RETENTIONS = [(b"10s", 10, 360, 0.0), (b"5m", 300, 24, 0.0), (b"1h", 3600, 3, 0.0)]
SEASONAL = [(b"10s", 10, 360, 0.0), (b"ma-1h", 60, 60, 0.9)]


class StatFileContract:
    kernel: ModuleType

    def setUp(self) -> None:
        self.root = self.mktemp().encode()  # type: ignore[attr-defined]
        os.mkdir(self.root)

    def writer(self, retentions: Any = RETENTIONS, **options: Any) -> Any:
        return self.kernel.Writer(self.root, retentions, **options)

    def write(self, writer: Any, samples: dict[bytes, list[Sample]], now: int = T + 1000, **how: Any) -> list[int]:
        arguments, statuses = job(samples, now, **how)
        writer.write(*arguments)
        return statuses.tolist()  # type: ignore[no-any-return]

    def path(self, name: str, file: str = "10s") -> bytes:
        return os.path.join(self.root, name.replace(".", "/").encode(), file.encode())

    def cells(self, name: str, file: str = "10s") -> list[tuple[Any, ...]]:
        """Return the counted cells of a file between its first and last bucket."""
        with self.kernel.Reader(os.path.dirname(self.path(name)), [file.encode()]) as reader:
            (head,) = reader.headers()
            found = reader.cells(0, head.first_bucket, head.last_bucket - head.first_bucket + 1)
        return [tuple(cell) for cell in found.tolist() if cell[0] > 0]

    def head(self, name: str, file: str = "10s") -> form.Header:
        return self.kernel.read_header(self.path(name, file))  # type: ignore[no-any-return]

    def test_makes_a_folder_with_a_file_for_each_retention(self) -> None:
        writer = self.writer()
        self.assertEqual(self.write(writer, {b"a.b": [gauge(T + 3, 2.0)]}), [form.CREATED])
        self.assertEqual(sorted(os.listdir(os.path.join(self.root, b"a/b"))), [b"10s", b"1h", b"5m"])
        self.assertEqual(os.path.getsize(self.path("a.b")), 24576)
        self.assertEqual(self.cells("a.b"), [(T, 2.0, 2.0, 2.0, 1, 4.0)])
        self.assertEqual(self.head("a.b").name, self.path("a.b"))

    def test_levels_above_get_empty_files_of_the_same_age(self) -> None:
        self.write(self.writer(), {b"a.b.c": [gauge(T + 3, 2.0)]}, events=True)
        for name in ("a", "a.b"):
            head = self.head(name)
            self.assertEqual((head.create_time, head.flags, head.cumulative_count), (T, form.COLLATED, 0))
            self.assertEqual(self.head(name, "5m").fixed_count, 30)

    def test_levels_above_are_left_out_when_told_so(self) -> None:
        self.write(self.writer(parents=False), {b"a.b.c": [gauge(T, 2.0)]})
        self.assertEqual(os.listdir(os.path.join(self.root, b"a")), [b"b"])

    def test_merges_samples_of_a_cell_in_order(self) -> None:
        writer = self.writer()
        samples = [gauge(T, 1.0), gauge(T + 9, 4.0), gauge(T + 3, -2.0), summary(T + 10, 30, 350, 5, 15, 3)]
        self.write(writer, {b"a": samples})
        self.assertEqual(self.cells("a"), [(T, 3.0, -2.0, 4.0, 3, 21.0), (T + 10, 30.0, 5.0, 15.0, 3, 350.0)])
        self.assertEqual(self.cells("a", "5m"), [(T, 33.0, -2.0, 15.0, 6, 371.0)])

    def test_jobs_cut_anywhere_write_the_same(self) -> None:
        samples = [gauge(T + n * 7, n * 0.1) for n in range(40)]
        whole, cut = self.writer(), self.writer()
        self.write(whole, {b"whole": samples}, shift=form.SHIFT_DUE)
        for sample in samples:
            self.write(cut, {b"cut": [sample]}, shift=form.SHIFT_NONE)
        for _name, interval, *_ in RETENTIONS:
            file = {10: "10s", 300: "5m", 3600: "1h"}[interval]
            self.assertEqual(self.cells("whole", file), self.cells("cut", file))
            self.assertEqual(self.head("whole", file)[:16], self.head("cut", file)[:16])

    def test_each_file_takes_what_its_ring_reaches(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        statuses = self.write(writer, {b"a": [gauge(T - 5110, 2.0), gauge(T - 5120, 3.0), gauge(T - 512 * 3600, 4.0)]})
        self.assertEqual(statuses, [form.WRITTEN])
        self.assertEqual([cell[0] for cell in self.cells("a")], [T - 5110, T])
        self.assertEqual(len(self.cells("a", "5m")), 2)
        counters = writer.counters()
        self.assertEqual((counters["samples"], counters["too_old"]), (3, 1))

    def test_a_sample_just_before_the_file_began_leaves_its_first_cell(self) -> None:
        self.write(self.writer(), {b"a": [gauge(T, 1.0), gauge(T - 5, 2.0), gauge(T - 10, 3.0)]})
        self.assertEqual(self.cells("a"), [(T - 10, 5.0, 2.0, 3.0, 2, 13.0), (T, 1.0, 1.0, 1.0, 1, 1.0)])

    def test_the_ring_passes_over_old_cells_without_clearing_them(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0), gauge(T + 10, 1.0)]})
        self.write(writer, {b"a": [gauge(T + 5130, 7.0)]}, now=T + 6000)
        head = self.head("a")
        self.assertEqual((head.first_bucket, head.last_bucket, head.last_time), (2, 513, T + 5130))
        with self.kernel.Reader(os.path.dirname(self.path("a")), [b"10s"]) as reader:
            slots = reader.cells(0, 512, 2)["time"].tolist()
        self.assertEqual(slots, [T, T + 5130])

    def test_a_stale_cell_is_emptied_when_its_slot_is_used_again(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        self.write(writer, {b"a": [gauge(T + 5120, 7.0)]}, now=T + 6000)
        self.assertEqual(self.cells("a"), [(T + 5120, 7.0, 7.0, 7.0, 1, 49.0)])

    # Events

    def test_events_are_rates_and_shift_out_into_coarser_files(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(T, 10.0)] * 3 + [gauge(T + 60, 100.0)]}, events=True, shift=form.SHIFT_ALL)
        counted = [cell for cell in self.cells("e") if cell[4]]
        self.assertEqual(counted, [(T, 3.0, 3.0, 3.0, 1, 9.0), (T + 60, 10.0, 10.0, 10.0, 1, 100.0)])
        self.assertEqual(self.cells("e", "5m")[0], (T, 13.0, 0.0, 10.0, 30, 109.0))
        self.assertEqual(self.head("e", "5m").first_bucket, 0)

    def test_events_before_the_window_are_refused_and_counted(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(T, 1.0), gauge(T - 40, 1.0), gauge(T - 41, 1.0)]}, events=True)
        counters = writer.counters()
        self.assertEqual((counters["samples"], counters["from_past"]), (2, 1))

    def test_an_open_window_waits_for_the_next_job(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(T, 10.0)]}, events=True)
        self.assertTrue(writer.holds(np.array([0]))[0])
        self.write(writer, {b"e": [gauge(T, 10.0)]}, events=True)
        self.write(writer, {b"e": [gauge(T, 10.0)]}, events=True, shift=form.SHIFT_OUT)
        self.assertFalse(writer.holds(np.array([0]))[0])
        self.assertIn((T, 3.0, 3.0, 3.0, 1, 9.0), self.cells("e"))
        self.assertEqual(self.cells("e", "1h")[0][:2], (T, 3.0))

    def test_a_due_flush_moves_the_window_to_now(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(T, 10.0)]}, now=T + 1000, events=True, shift=form.SHIFT_DUE)
        self.assertEqual(self.head("e").last_time, T + 1010)
        self.write(writer, {b"e": [gauge(T + 980, 10.0), gauge(T + 979, 10.0)]}, now=T + 1000, events=True)
        self.assertEqual(writer.counters()["from_past"], 1)

    def test_an_idle_window_moves_on_without_samples(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(T, 10.0)]}, now=T, events=True)
        self.write(writer, {b"e": []}, now=T + 300, events=True, shift=form.SHIFT_DUE)
        self.assertEqual(self.cells("e", "5m")[0], (T, 1.0, 0.0, 1.0, 30, 1.0))

    def test_the_file_decides_what_a_counter_is(self) -> None:
        writer = self.writer()
        self.write(writer, {b"g": [gauge(T, 10.0)]})
        self.write(writer, {b"g": [gauge(T, 10.0)]}, events=True)
        self.assertEqual(self.cells("g"), [(T, 20.0, 10.0, 10.0, 2, 200.0)])
        self.write(writer, {b"e": [gauge(T, 10.0)]}, events=True, ids={b"e": 5})
        self.write(writer, {b"e": [gauge(T, 10.0)]}, ids={b"e": 5}, shift=form.SHIFT_OUT)
        self.assertIn((T, 2.0, 2.0, 2.0, 1, 4.0), self.cells("e"))

    def test_a_jump_over_many_years_takes_little_time(self) -> None:
        writer = self.writer()
        self.write(writer, {b"e": [gauge(100, 10.0)]}, events=True)
        self.write(writer, {b"e": [gauge(T * 3, 10.0)]}, now=T * 3, events=True, shift=form.SHIFT_OUT)
        self.assertIn((T * 3, 1.0, 1.0, 1.0, 1, 1.0), self.cells("e"))
        self.assertEqual(len(self.cells("e")), 512)

    # Seasons

    def test_a_season_file_blends_with_the_season_before(self) -> None:
        writer = self.writer(SEASONAL)
        for time, value in ((T, 2.0), (T + 3600, 5.0)):
            self.write(writer, {b"a": [gauge(time, value)]}, now=time, shift=form.SHIFT_OUT)
        cells = self.cells("a", "ma-1h")
        self.assertEqual([(cell[0], round(cell[1], 6), cell[4]) for cell in cells], [(T, 2.0, 1), (T + 3600, 2.3, 1)])

    def test_open_season_cells_wait_three_flushes(self) -> None:
        writer = self.writer(SEASONAL)
        self.write(writer, {b"a": [gauge(T, 2.0)]})
        for _ in range(2):
            self.write(writer, {b"a": []}, shift=form.SHIFT_DUE)
        self.assertEqual(self.cells("a", "ma-1h"), [])
        self.write(writer, {b"a": []}, shift=form.SHIFT_DUE)
        self.assertEqual(self.cells("a", "ma-1h"), [(T, 2.0, 2.0, 2.0, 1, 4.0)])
        self.assertFalse(writer.holds(np.array([0]))[0])

    def test_what_lies_in_the_slot_of_another_season_is_no_past(self) -> None:
        writer = self.writer(SEASONAL)
        late = T + 512 * 60 + 3600
        for time, value in ((T, 2.0), (late, 5.0)):
            self.write(writer, {b"a": [gauge(time, value)]}, now=time, shift=form.SHIFT_OUT)
        self.assertEqual(self.cells("a", "ma-1h")[-1], (late, 5.0, 5.0, 5.0, 1, 25.0))

    # Plans and crashes

    def test_nothing_is_written_before_the_commit(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        arguments, _ = job({b"a": [gauge(T, 2.0)]}, T)
        redo = writer.plan(*arguments)
        self.assertEqual(self.cells("a")[0][1], 1.0)
        self.assertRaises(ValueError, writer.plan, *arguments)
        writer.commit()
        self.assertEqual(self.cells("a")[0][1], 3.0)
        for _ in range(2):
            self.kernel.apply_redo(self.root, redo)
        self.assertEqual(self.cells("a")[0][1], 3.0)

    def test_a_redo_record_tells_what_was_open(self) -> None:
        writer = self.writer(SEASONAL)
        arguments, _ = job({b"a.b": [gauge(T, 2.0)], b"e": [gauge(T, 20.0)]}, T, events={b"a.b": False, b"e": True})
        redo = writer.plan(*arguments)
        writer.commit()
        told: dict[bytes, bytes] = {}
        self.kernel.apply_redo(self.root, redo, told.__setitem__)
        self.assertEqual(told, {b"a.b": writer.state(0), b"e": writer.state(1)})
        fresh = self.writer(SEASONAL)
        for number, name in enumerate((b"a.b", b"e")):
            fresh.restore(number, told[name])
            self.assertEqual(fresh.state(number), told[name])
        self.write(fresh, {b"a.b": [], b"e": []}, shift=form.SHIFT_OUT)
        self.assertEqual(self.cells("a.b", "ma-1h"), [(T, 2.0, 2.0, 2.0, 1, 4.0)])
        self.assertIn((T, 2.0, 2.0, 2.0, 1, 4.0), self.cells("e"))

    def test_a_window_of_other_steps_is_left_out(self) -> None:
        slot = struct.Struct("<qdffifI")
        torn = [*range(T, T + 40, 10), T + (1 << 40)]
        damaged = [torn, list(range(T + 3, T + 53, 10)), [-(1 << 62)] * 5]
        states = [b"\5" + b"".join(slot.pack(time, 1, 1, 1, 1, 1, 1) for time in times) for times in damaged]
        writer = self.writer()
        self.write(writer, {b"old": [gauge(T, 10.0), gauge(T + 40, 10.0)]}, events=True)
        for number, state in enumerate([writer.state(0), *states]):
            fresh = self.writer([(b"10s" if number else b"1s", 10 if number else 1, 360, 0.0)])
            name = b"e%d" % number
            fresh.restore(0, state)
            self.write(fresh, {name: [gauge(T + 40, 20.0), gauge(T + 30, 20.0)]}, events=True)
            self.assertEqual(fresh.counters()["samples"], 2 if number else 1)
            self.assertEqual(self.cells(name.decode(), "10s" if number else "1s")[-1][0], T + 40)
            with self.kernel.Reader(os.path.join(self.root, name), [b"10s", b"1s"]) as reader:
                reader.replay(*([np.array([T + 49.0])] * 6), state)

    def test_damaged_records_and_states_are_refused(self) -> None:
        writer = self.writer(SEASONAL)
        arguments, _ = job({b"a": [gauge(T, 2.0)]}, T)
        redo = writer.plan(*arguments)
        writer.commit()
        self.assertRaises(ValueError, self.kernel.apply_redo, self.root, redo[:-1])
        for state in (b"\x05", b"\x07" + bytes(180), b"\0" + b"\x63" + bytes(96), bytes(50)):
            self.assertRaises(ValueError, writer.restore, 0, state)

    def test_a_write_cut_short_leaves_a_file_that_reads(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        with open(self.path("a"), "rb") as file:
            before = file.read()
        arguments, _ = job({b"a": [gauge(T + n * 10, float(n)) for n in range(300)]}, T + 4000)
        redo = writer.plan(*arguments)
        writer.commit()
        for writes in range(4):
            with open(self.path("a"), "wb") as file:
                file.write(before)
            with open(self.path("a"), "r+b") as file:
                for offset, data in first_runs(redo)[:writes]:
                    file.seek(offset)
                    file.write(data)
            self.assertTrue(all(cell[0] % 10 == 0 and cell[4] in (1, 2) for cell in self.cells("a")))
            self.kernel.apply_redo(self.root, redo)
            self.assertEqual(len(self.cells("a")), 300)

    # Files

    def test_continues_files_of_older_versions(self) -> None:
        self.write(self.writer(), {b"a": [gauge(T, 1.0)]})
        with open(self.path("a"), "r+b") as file:
            file.seek(16)
            file.write(struct.pack("<i", 440))
            file.seek(28)
            file.write(struct.pack("<i", 4))
        self.assertEqual(self.write(self.writer(), {b"a": [gauge(T, 1.0)]}), [form.WRITTEN])
        head = self.head("a")
        self.assertEqual((head.cr_version, head.hdr_size, head.factor, head.season), (7, 440, 0.9, 86400))
        self.assertEqual(self.cells("a")[0][1], 2.0)

    def test_foreign_and_damaged_files_are_left_alone(self) -> None:
        for number, damage in enumerate((b"no such file at all" * 100, b"istatd 4.0\n\0\xf5\x14\x07\0" + bytes(600))):
            name = b"a%d" % number
            self.write(self.writer(), {name: [gauge(T, 1.0)]})
            for file in ("10s", "5m", "1h"):
                with open(self.path(name.decode(), file), "wb") as out:
                    out.write(damage)
            writer = self.writer()
            self.assertEqual(self.write(writer, {name: [gauge(T, 1.0)]}), [form.QUARANTINED])
            self.assertEqual({kind for kind, _name, _code in writer.reports()}, {form.REPORT_QUARANTINED})
            with open(self.path(name.decode()), "rb") as found:
                self.assertEqual(found.read(), damage)

    def test_one_damaged_file_does_not_stop_the_others(self) -> None:
        self.write(self.writer(), {b"a": [gauge(T, 1.0)]})
        with open(self.path("a", "5m"), "wb") as file:
            file.write(b"x" * 600)
        writer = self.writer()
        self.assertEqual(self.write(writer, {b"a": [gauge(T, 1.0)]}), [form.WRITTEN])
        self.assertEqual(writer.reports(), [(form.REPORT_QUARANTINED, b"a", 0)])
        self.assertEqual((self.cells("a")[0][1], self.cells("a", "1h")[0][1]), (2.0, 2.0))

    def test_an_empty_file_is_made_anew(self) -> None:
        self.write(self.writer(), {b"a": [gauge(T, 1.0)]})
        with open(self.path("a"), "wb"):
            pass
        writer = self.writer()
        self.assertEqual(self.write(writer, {b"a": [gauge(T + 10, 1.0)]}), [form.WRITTEN])
        self.assertEqual(writer.reports(), [(form.REPORT_HEALED, b"a", 0)])
        self.assertEqual([cell[0] for cell in self.cells("a")], [T + 10])

    def test_a_file_of_a_new_retention_is_added(self) -> None:
        self.write(self.writer(RETENTIONS[:1]), {b"e": [gauge(T, 1.0)]}, events=True)
        self.write(self.writer(), {b"e": [gauge(T, 1.0)]}, shift=form.SHIFT_OUT)
        self.assertEqual(self.head("e", "1h").fixed_count, 360)
        self.assertEqual(self.head("e", "1h").flags, form.COUNTER_AGGREGATE)

    def test_a_short_file_reads_as_zeros_and_grows(self) -> None:
        self.write(self.writer(), {b"a": [gauge(T, 1.0)]})
        os.truncate(self.path("a"), 8192)
        self.write(self.writer(), {b"a": [gauge(T + 2560, 2.0)]}, now=T + 3000)
        self.assertEqual(self.cells("a"), [(T + 2560, 2.0, 2.0, 2.0, 1, 4.0)])

    def test_a_file_replaced_elsewhere_is_opened_anew(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        os.rename(os.path.join(self.root, b"a"), os.path.join(self.root, b"b"))
        self.assertEqual(self.write(writer, {b"a": [gauge(T, 5.0)]}), [form.CREATED])
        self.assertEqual((self.cells("a")[0][1], self.cells("b")[0][1]), (5.0, 1.0))

    def test_sparse_files_take_no_room_until_written(self) -> None:
        self.write(self.writer(sparse=True), {b"s.x": [gauge(T, 1.0)]})
        self.write(self.writer(), {b"p.x": [gauge(T, 1.0)]})
        size = [os.stat(self.path(name)) for name in ("s", "p")]
        self.assertEqual([found.st_size for found in size], [24576, 24576])
        self.assertLess(size[0].st_blocks, size[1].st_blocks)

    def test_keeps_a_bounded_number_of_descriptors(self) -> None:
        writer = self.writer(max_open=32)
        for number in range(40):
            self.write(writer, {b"m%d" % number: [gauge(T, 1.0)]}, ids={b"m%d" % number: number})
        self.assertLessEqual(writer.open_files, 32)
        self.write(writer, {b"m%d" % number: [gauge(T, 1.0)] for number in range(40)})
        self.assertEqual([self.cells(f"m{number}")[0][1] for number in range(40)], [2.0] * 40)
        writer.close()
        self.assertEqual(writer.open_files, 0)

    def test_creations_beyond_the_allowance_wait(self) -> None:
        writer = self.writer()
        samples = {b"m%d" % number: [gauge(T, 1.0)] for number in range(3)}
        statuses = self.write(writer, samples, may_create=2)
        self.assertEqual(statuses, [form.CREATED, form.CREATED, form.WAITS_FOR_CREATE])
        self.assertEqual(writer.counters()["waiting"], 1)

    def test_names_that_no_folder_can_have(self) -> None:
        names = [b"", b".", b"a..b", b".a", b"a.", b"a/b", b"a\0b", b"x" * 256, b"y." * 2000 + b"z"]
        writer = self.writer()
        self.assertEqual(self.write(writer, {name: [gauge(T, 1.0)] for name in names}), [form.BAD_NAME] * len(names))
        self.assertEqual(os.listdir(self.root), [])

    def test_a_counter_named_like_a_file_is_set_aside(self) -> None:
        writer = self.writer()
        self.assertEqual(
            self.write(writer, {b"foo": [gauge(T, 1.0)], b"foo.10s": [gauge(T, 1.0)]}),
            [form.CREATED, form.QUARANTINED],
        )

    def test_a_failing_disk_is_tried_again_without_counting_twice(self) -> None:
        writer = self.writer()
        self.write(writer, {b"a": [gauge(T, 1.0)]})
        arguments, statuses = job({b"a": [gauge(T + 2560, 2.0)]}, T + 3000)
        writer.plan(*arguments)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        try:
            writer.commit()
            self.assertEqual((statuses.tolist(), writer.unwritten), ([form.WRITTEN], 1))
            self.assertEqual(self.write(writer, {b"a": [gauge(T + 2560, 9.0)]}), [form.RETRY])
            self.assertTrue(writer.holds(np.array([0]))[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(self.write(writer, {b"a": [gauge(T + 2560, 1.0)]}), [form.WRITTEN])
        self.assertEqual(writer.unwritten, 0)
        self.assertEqual(self.cells("a")[-1], (T + 2560, 3.0, 1.0, 2.0, 2, 5.0))

    def test_contradicting_columns_are_refused(self) -> None:
        writer = self.writer()
        good, _ = job({b"a": [gauge(T, 1.0)], b"b": []}, T)
        for position, value in ((1, good[1][:-1]), (4, good[4] + 1), (2, np.zeros(2, np.uint32)), (5, np.zeros(3))):
            bad = list(good)
            bad[position] = value
            self.assertRaises(ValueError, writer.plan, *bad)
        self.assertRaises(ValueError, self.kernel.Writer, self.root, [])
        self.assertRaises(ValueError, self.kernel.Writer, self.root, [(b"x", 0, 10, 0.0)])

    # Reading

    def test_reads_as_if_waiting_samples_were_written(self) -> None:
        writer = self.writer(SEASONAL)
        self.write(writer, {b"e": [gauge(T, 10.0)]}, events=True)
        arguments, _ = job({b"e": [gauge(T, 10.0), gauge(T + 50, 30.0)]}, T)
        with self.kernel.Reader(os.path.dirname(self.path("e")), [b"10s", b"none", b"ma-1h"]) as reader:
            reader.replay(*arguments[5:11], writer.state(0))
            heads = reader.headers()
            self.assertIsNone(heads[1])
            self.assertEqual(heads[0].last_time, T + 50)
            found = reader.cells(0, 0, 6)
            self.assertRaises(ValueError, reader.cells, 1, 0, 1)
        self.assertEqual(found["sum"].tolist(), [2.0, 0.0, 0.0, 0.0, 0.0, 3.0])
        self.assertEqual(self.cells("e")[-1][0], T)

    def test_nothing_to_read_is_no_fault(self) -> None:
        with self.kernel.Reader(self.root + b"/none", [b"10s"]) as reader:
            reader.replay(*([np.zeros(1)] * 6))
            self.assertEqual(reader.headers(), [None])


class NativeStatFileTests(StatFileContract, unittest.SynchronousTestCase):
    kernel = native_twin("statfile")  # type: ignore[assignment]
    skip = None if kernel else "the native kernel is not built"


class PythonStatFileTests(StatFileContract, unittest.SynchronousTestCase):
    kernel = python_twin("statfile")


def first_runs(redo: bytes) -> list[tuple[int, bytes]]:
    """Return the (offset, bytes) of the first file in a redo record."""
    size, _number, path_bytes, _row = struct.unpack_from("<IHHI", redo)
    at, out = 12 + path_bytes + form.HEADER_BYTES, []
    while at < size:
        offset, length = struct.unpack_from("<QI", redo, at)
        out.append((offset, redo[at + 12 : at + 12 + length]))
        at += 12 + length
    return out


times = st.one_of(
    st.integers(T - 6000, T + 6000).map(float),
    st.integers(T - 20, T + 60).map(float),
    st.sampled_from([0.0, -5.0, float(T), 1e18, -1e18, float("nan")]),
)
# no infinities: which sign the NaN of their difference has is the processor's business, and means nothing
numbers = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1e30, -1e30]),
)
samples = st.one_of(
    st.tuples(times, numbers).map(lambda pair: gauge(*pair)),
    st.tuples(times, st.integers(-5, 1 << 40).map(float), numbers, numbers, numbers, numbers),
)
steps = st.tuples(st.lists(samples, max_size=12), st.integers(0, 3), st.booleans(), st.integers(0, 2000))


class TwinComparison(unittest.SynchronousTestCase):
    skip = None if native_twin("statfile") else "the native kernel is not built"

    @settings(max_examples=80, deadline=None)
    @given(st.lists(steps, min_size=1, max_size=6))
    def test_both_twins_write_the_same_bytes(self, plan: list[tuple[list[Sample], int, bool, int]]) -> None:
        root = self.mktemp()
        retentions = [(b"10s", 10, 360, 0.0), (b"1m", 60, 60, 0.0), (b"ma", 60, 60, 0.75)]
        found = []
        for twin in (native_twin("statfile"), python_twin("statfile")):
            assert twin is not None
            os.makedirs(os.path.join(root, twin.__name__))
            writer = twin.Writer(os.path.join(root, twin.__name__).encode(), retentions, sparse=True, shown_root=b"/s")
            said: list[Any] = []
            for rows, shift, event, later in plan:
                arguments, statuses = job({b"a.b": rows}, T + later, shift, events=event)
                said += [writer.plan(*arguments), statuses.tolist()]
                writer.commit()
                said.append(writer.state(0))
            counters = writer.counters()
            told = {name: counters[name] for name in ("samples", "too_old", "from_past", "updates", "files_created")}
            found.append((said, told))
        self.assertEqual(found[0], found[1])

    @given(st.binary(max_size=400))
    def test_no_state_leads_astray(self, data: bytes) -> None:
        answers = []
        for twin in (native_twin("statfile"), python_twin("statfile")):
            assert twin is not None
            writer = twin.Writer(b"/nowhere", [(b"10s", 10, 360, 0.0)])
            try:
                writer.restore(3, data)
                answers.append(True)
            except ValueError:
                answers.append(False)
        self.assertEqual(answers[0], answers[1])

    def test_a_state_reads_back(self) -> None:
        state = State()
        self.assertEqual(State.unpack(state.pack()).pack(), b"")
