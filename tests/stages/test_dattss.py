"""Tests of `cadtwist.stages.dattss`: the recorded timeline of an environment, and where we do better."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.batch import NO_ID
from cadtwist.model.partial import KINDS, Partial, partial_of
from cadtwist.stages.dattss import Environment, summaries_of
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
                self.compare(environment.status(), step["status"], seen)
            else:
                minutes = [msgspec.structs.asdict(each) for each in environment.commit(now)]
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

    def entry(self, path: str) -> Any:
        return next(each for each in self.environment.status()["c"] if each["pth"] == path)

    def test_two_partials_of_one_path_count_both(self) -> None:
        self.environment.take([counter("a", 1), counter("a", 2)], START)
        self.assertEqual(self.entry("a")["sum"], 3)

    def test_averages_decay_without_traffic(self) -> None:
        self.environment.take([counter("a", 60)], START)
        self.environment.commit(START + 30.0)
        self.environment.tick(START + 59.0)
        self.assertEqual(self.entry("a")["avg"], "1.00")
        self.environment.tick(START + 60.0)
        self.assertEqual((self.entry("a")["avg"], self.entry("a")["sum"]), ("0.00", 60))

    def test_what_is_not_stored_yet_stays(self) -> None:
        self.environment.take([counter("a", 60)], START)
        self.environment.tick(START + 600.0)
        self.assertEqual([each.sum for each in self.environment.commit(START + 601.0)], [60])
        self.assertEqual(self.environment.commit(START + 602.0), [])

    def test_a_restarted_process_begins_anew(self) -> None:
        self.assertFalse(self.environment.restarted("p", 100.0))
        self.environment.take([counter("p.a", 5), counter("q.a", 5)], START)
        self.assertFalse(self.environment.restarted("p", 105.0))
        self.assertTrue(self.environment.restarted("p", 2.0))
        self.assertEqual([each["pth"] for each in self.environment.status()["c"]], ["q.a"])

    def test_totals_survive_a_restart(self) -> None:
        gauge = partial_of("g", "g", [4], True)
        self.environment.take([counter("a", 5), gauge], START)
        again = Environment()
        again.restore(msgspec.json.decode(msgspec.json.encode(self.environment.status())))
        again.take([counter("a", 2)], START + 100.0)
        found = again.status()
        self.assertEqual((found["c"][0]["sum"], found["g"][0]["lst"], found["g"][0]["emp"]), (7, 4, True))

    def test_statistics_are_bounded(self) -> None:
        environment = Environment(most=2)
        environment.take([counter(f"m{i}", 1) for i in range(5)], START)
        self.assertEqual((len(environment.statistics), environment.refused), (2, 3))

    def test_minutes_as_summaries(self) -> None:
        batch = summaries_of([counter("a", 1, 3), counter("b", 5), counter("c", 9)], np.array([7, NO_ID, 8]), START)
        self.assertEqual(batch.ids.tolist(), [7, 8])
        assert batch.firsts is not None
        self.assertEqual((batch.sums.tolist(), batch.counts.tolist(), batch.firsts.tolist()), ([4, 9], [2, 1], [1, 9]))
        self.assertEqual((batch.sumsqs.tolist(), batch.timestamps.tolist()), ([8, 81], [START, START]))
