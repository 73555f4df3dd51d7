"""Tests of `cadtwist.stages.dattss`: the recorded timeline of an environment, and where we do better."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.partial import KINDS, Partial, partial_of
from cadtwist.model.summaryjob import Kept
from cadtwist.stages.dattss import Environment, plain
from tests.model.test_partial import recording

START = 1_767_323_045.0
MINUTE = ("typ", "pth", "sum", "cnt", "pct", "max", "min", "lst", "fst", "top", "bot")


def counter(path: str, *values: int) -> Partial:
    return partial_of("c", path, values)


class RecordedTests(SynchronousTestCase):
    def test_the_timeline(self) -> None:
        environment, now = Environment(), START
        seen: dict[str, Any] = {}
        for step in recording("server_vectors")["environment"]:
            now += step["advance_s"]
            if "agg" in step:
                environment.take([Partial(**each) for kind in KINDS for each in step["agg"][kind]], now)
                self.compare(environment.status(now), step["status"], seen)
            else:
                minutes = [msgspec.structs.asdict(each.minute) for each in environment.commit(now)]
                environment.settle(True, now)
                wanted = [write[-1] | write[1] for write in step["writes"] if write[0] == "dts_aggregates"]
                self.assertEqual(
                    sorted(({name: each[name] for name in MINUTE} for each in minutes), key=str),
                    sorted(({name: each[name] for name in MINUTE} for each in wanted), key=str),
                    step["label"],
                )

    def compare(self, found: dict[str, list[Any]], wanted: dict[str, list[Any]], seen: dict[str, Any]) -> None:
        for kind in KINDS:
            self.assertEqual([each["pth"] for each in found[kind]], [each["pth"] for each in wanted[kind]])
            for mine, recorded in zip(found[kind], wanted[kind], strict=True):
                if recorded["avg"] is None:  # the original forgets the last value and the emphasis
                    recorded |= {"max": None, "min": None, "emp": seen[mine["pth"]]["emp"]}
                    if kind == "g":
                        recorded["lst"] = seen[mine["pth"]]["lst"]
                self.assertEqual(mine, recorded)
                seen[mine["pth"]] = mine


class EnvironmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.environment = Environment()

    def entry(self, path: str, now: float = START) -> Any:
        return next(each for each in self.environment.status(now)["c"] if each["pth"] == path)

    def committed(self, now: float) -> list[float]:
        found = [each.minute.sum for each in self.environment.commit(now)]
        self.environment.settle(True, now)
        return found

    def test_two_partials_of_one_path_count_both(self) -> None:
        self.environment.take([counter("a", 1), counter("a", 2)], START)
        self.assertEqual(self.entry("a")["sum"], 3)

    def test_averages_decay_without_traffic(self) -> None:
        self.environment.take([counter("a", 60)], START)
        self.committed(START + 30.0)
        self.assertEqual(self.entry("a", START + 59.0)["avg"], "1.00")
        found = self.entry("a", START + 60.0)
        self.assertEqual((found["avg"], found["sum"]), ("0.00", 60))

    def test_what_is_not_stored_yet_stays(self) -> None:
        self.environment.take([counter("a", 60)], START)
        self.environment.status(START + 600.0)
        self.assertEqual((self.committed(START + 601.0), self.committed(START + 602.0)), ([60], []))

    def test_what_could_not_be_stored_is_stored_with_the_next(self) -> None:
        self.environment.take([counter("a", 60), counter("b", 1)], START)
        self.assertEqual(len(list(self.environment.commit(START + 60))), 2)
        self.environment.take([counter("a", 1)], START + 61)
        self.assertEqual((self.environment.held, self.environment.waiting), (3, 1))
        self.assertEqual((self.environment.settle(False, START + 61), self.environment.held), (0, 3))
        self.assertEqual(sorted(self.committed(START + 200)), [1, 61])
        self.assertEqual((self.environment.held, self.environment.dirty), (0, False))

    def test_what_comes_while_a_minute_is_stored_is_of_the_next(self) -> None:
        self.environment.take([counter("a", 60)], START)
        self.environment.commit(START + 60)
        self.environment.take([counter("a", 1)], START + 61)
        self.assertEqual(self.environment.settle(True, START + 61), 1)
        self.assertEqual(self.committed(START + 120), [1])

    def test_a_restarted_process_begins_anew(self) -> None:
        self.assertFalse(self.environment.restarted("p", 100.0))
        self.environment.take([counter("p.a", 5), counter("q.a", 5)], START)
        self.assertFalse(self.environment.restarted("p", 105.0))
        self.assertTrue(self.environment.restarted("p", 2.0))
        self.assertEqual([each["pth"] for each in self.environment.status(START)["c"]], ["q.a"])
        self.environment.take([counter("p.a", 7)], START)
        self.assertEqual(self.entry("p.a")["sum"], 7)
        self.assertEqual(sorted(self.committed(START + 1)), [5, 5, 7], "nothing is lost")

    def test_totals_survive_a_restart(self) -> None:
        gauge = partial_of("g", "g", [4], True)
        self.environment.take([counter("a", 5), gauge], START)
        again = Environment()
        for row in self.environment.commit(START):
            again.restore(row.minute.typ, row.minute.pth, row.kept)
        again.take([counter("a", 2)], START + 100.0)
        found = again.status(START + 100.0)
        self.assertEqual((found["c"][0]["sum"], found["g"][0]["lst"], found["g"][0]["emp"]), (7, 4, True))

    def test_what_was_stored_before_only_matters_to_averages(self) -> None:
        self.environment.restore("c", "a", Kept(60.0, 60, False, int(START)))
        self.environment.take([counter("a", 60)], START, stored=True)
        self.assertEqual((self.entry("a")["sum"], self.entry("a")["avg"]), (60, "1.00"))
        self.assertEqual(self.committed(START + 1), [])

    def test_statistics_are_bounded(self) -> None:
        environment = Environment(most=2)
        self.assertEqual(environment.take([counter(f"m{i}", 1) for i in range(5)], START), 3)
        self.assertEqual((len(environment.statistics), environment.refused), (2, 3))

    def test_a_flood_of_partials_takes_bounded_memory_and_loses_nothing(self) -> None:
        for number in range(10_000):
            self.environment.take([counter("a", 1)], START + number / 200)
        (statistic,) = self.environment.statistics.values()
        self.assertLess(len(statistic.rolling), 60)
        self.assertEqual(self.entry("a", START + 50)["sum"], 10_000)
        self.assertEqual((self.environment.held, self.committed(START + 50)), (10_000, [10_000]))

    def test_a_store_that_is_away_for_long_takes_bounded_memory_and_loses_nothing(self) -> None:
        for minute in range(600):
            for second in range(0, 60, 5):
                self.environment.take([counter("a", 1, 2)], START + 60 * minute + second)
            self.assertEqual(len(list(self.environment.commit(START + 60 * minute + 59))), 1)
            self.assertEqual(self.environment.settle(False, START + 60 * minute + 59), 0)
        (statistic,) = self.environment.statistics.values()
        self.assertLess(len(statistic.rolling), 30)
        found = self.entry("a", START + 60 * 600 - 1)
        self.assertEqual((found["sum"], self.environment.held), (600 * 36, 7200))
        self.assertEqual(self.committed(START + 60 * 600), [600 * 36])

    def test_old_statistics_are_forgotten(self) -> None:
        self.environment.take([counter("a", 1)], START)
        self.environment.take([counter("b", 1)], START + 100)
        self.assertEqual(self.environment.forget(START + 50), 0, "not before they are stored")
        self.committed(START + 100)
        self.environment.status(START + 200)
        self.assertEqual((self.environment.forget(START + 50), len(self.environment.statistics)), (1, 1))


class NumberTests(SynchronousTestCase):
    def test_whole_numbers_stay_whole(self) -> None:
        self.assertEqual([repr(plain(value)) for value in (None, 3, 3.0, 2.5, 1e300, -0.0)],
                         ["None", "3", "3", "2.5", "1e+300", "0"])  # fmt: skip
