"""The stats object: every key, its lists and rates, and several processes as one."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.sectionstats import COUNTS, SectionStats, merged

STATE: dict[str, Any] = {
    "listening": "tcp://127.0.0.1:1",
    "servers_up": ["a", "b"],
    "servers_down": None,
    "servers_checking": ["tcp://a:1"],
    "current_read_buffer_size": 10,
    "max_read_buffer_size": 100,
    "input_queue_size": 1,
    "work_queue_size": 2,
    "shards": [{"group": "r", "shard_map": ["a", "b"], "lines": [1, 2]}],
}
_KEYS = """
    valid_line_count worker_line_count invalid_line_count success_send_count fail_send_count unsendable_send_count
    unknown_send_count all_lines_count redirected_lines_count rejected_lines_count bytes_written bytes_read
    current_valid_line_count current_worker_line_count current_invalid_line_count current_success_send_count
    current_fail_send_count current_unsendable_send_count current_unknown_send_count current_all_lines_count
    current_rejected_lines_count current_redirected_lines_count current_bytes_read_count current_bytes_written_count
    valid_line_count_list worker_line_count_list invalid_line_count_list success_send_count_list fail_send_count_list
    unsendable_send_count_list unknown_send_count_list all_lines_count_list redirected_lines_count_list
    rejected_lines_count_list bytes_read_count_list bytes_written_count_list go_routines_list ticks_list
    valid_line_count_persec worker_line_count_persec invalid_line_count_persec success_send_count_persec
    unsendable_count_persec unknown_send_count_persec all_lines_count_persec redirected_lines_count_persec
    rejected_lines_count_persec bytes_read_count_persec bytes_written_count_persec
    go_routines uptime_sec listening servers_up servers_down servers_checking current_read_buffer_size
    max_read_buffer_size input_queue_size work_queue_size
"""
KEYS = set(_KEYS.split())
LISTS = {key for key in KEYS if key.endswith("_list")}


def totals(valid: int = 0, **others: int) -> dict[str, int]:
    return {**dict.fromkeys(COUNTS, 0), "valid_line_count": valid, **others}


class SectionStatsTests(SynchronousTestCase):
    def test_every_key_and_one_of_our_own(self) -> None:
        told = SectionStats(10, 100.0).told(100.0, totals(), STATE)
        self.assertEqual(set(told), KEYS | {"shards"})

    def test_before_the_first_tick(self) -> None:
        told = SectionStats(10, 100.0).told(103.0, totals(9, bytes_read_count=90), STATE)
        self.assertEqual({key: told[key] for key in LISTS}, dict.fromkeys(LISTS))
        self.assertEqual((told["valid_line_count"], told["current_valid_line_count"]), (9, 0))
        self.assertEqual((told["bytes_read"], told["bytes_read_count_persec"]), (90, 30.0))
        self.assertEqual((told["uptime_sec"], told["valid_line_count_persec"]), (3, 3.0))

    def test_at_the_very_start(self) -> None:
        told = SectionStats(10, 100.0).told(100.0, totals(9), STATE)
        self.assertEqual((told["uptime_sec"], told["valid_line_count_persec"]), (0, 0.0))

    def test_ticks_move_the_lists(self) -> None:
        stats = SectionStats(10, 100.0)
        stats.tick(105.0, totals(5, unsendable_send_count=1))
        stats.tick(110.0, totals(12, unsendable_send_count=1))
        told = stats.told(111.0, totals(20, unsendable_send_count=4), STATE)
        self.assertEqual(told["ticks_list"], [105_000, 110_000])
        self.assertEqual(told["valid_line_count_list"], [5, 7])
        self.assertEqual(told["go_routines_list"], [0, 0])
        self.assertEqual((told["current_valid_line_count"], told["valid_line_count"]), (7, 20))
        self.assertEqual((told["unsendable_send_count_list"], told["current_unsendable_send_count"]), ([1, 0], 0))
        self.assertEqual(told["unsendable_count_persec"], 4 / 11)

    def test_ticks_that_are_a_little_late(self) -> None:
        early, late = SectionStats(3, 0.0), SectionStats(3, 0.0)
        early.tick(4.999, totals(1))
        late.tick(5.2, totals(2))
        told = merged([early.told(6.0, totals(1), STATE), late.told(6.0, totals(2), STATE)])
        self.assertEqual((told["ticks_list"], told["valid_line_count_list"]), ([5000], [3]))

    def test_lists_are_bounded(self) -> None:
        stats = SectionStats(3, 0.0)
        for n in range(10):
            stats.tick(5.0 * n, totals(n))
        told = stats.told(50.0, totals(9), STATE)
        self.assertEqual(told["ticks_list"], [35_000, 40_000, 45_000])
        self.assertTrue(all(len(told[key]) == 3 for key in LISTS))


class MergedTests(SynchronousTestCase):
    def test_one_process_is_itself(self) -> None:
        stats = SectionStats(3, 0.0)
        self.assertEqual(merged([stats.told(7.0, totals(7), STATE)]), stats.told(7.0, totals(7), STATE))
        stats.tick(5.0, totals(5))
        self.assertEqual(merged([stats.told(7.0, totals(7), STATE)]), stats.told(7.0, totals(7), STATE))

    def test_processes_that_began_at_different_times(self) -> None:
        old, young = SectionStats(3, 0.0), SectionStats(3, 8.0)
        old.tick(5.0, totals(5))
        old.tick(10.0, totals(7))
        young.tick(10.0, totals(100))
        there = {**STATE, "servers_up": ["b", "c"], "servers_down": ["tcp://a:1"]}
        told = merged([old.told(12.0, totals(8), STATE), young.told(12.0, totals(104), there)])
        self.assertEqual(told["ticks_list"], [5000, 10_000])
        self.assertEqual(told["valid_line_count_list"], [5, 102])
        self.assertEqual(told["current_valid_line_count"], 102)
        self.assertEqual((told["valid_line_count"], told["uptime_sec"]), (112, 12))
        self.assertEqual(told["valid_line_count_persec"], 8 / 12 + 104 / 4)
        self.assertEqual((told["servers_up"], told["servers_down"]), (["a", "b", "c"], ["tcp://a:1"]))
        self.assertEqual((told["current_read_buffer_size"], told["work_queue_size"]), (20, 4))
        self.assertEqual((told["listening"], told["servers_checking"]), (STATE["listening"], ["tcp://a:1"]))
        self.assertEqual(told["shards"], [{"group": "r", "shard_map": ["a", "b"], "lines": [2, 4]}])

    def test_nobody_is_up(self) -> None:
        state = {**STATE, "servers_up": []}
        told = SectionStats(3, 0.0).told(1.0, totals(), state)
        self.assertEqual(merged([told, told])["servers_up"], [])

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=8), min_size=1, max_size=4), st.integers(1, 9))
    def test_no_count_is_lost(self, processes: list[list[int]], points: int) -> None:
        told = []
        for counts in processes:
            stats, total = SectionStats(points, 0.0), 0
            for number, count in enumerate(counts):
                total += count
                stats.tick(5.0 * (number + 1), totals(total))
            told.append(stats.told(100.0, totals(total), STATE))
        found = merged(told)
        self.assertEqual(found["valid_line_count"], sum(map(sum, processes)))
        self.assertLessEqual(len(found["ticks_list"]), points)
        if points >= max(map(len, processes)):
            self.assertEqual(sum(found["valid_line_count_list"]), sum(map(sum, processes)))
