"""Every function: what is published of it, and that no argument does more than be refused."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.evaluate import EvaluationError
from cadtwist.query.find import QueryError
from cadtwist.query.functions.registry import GROUPS, account_of, pie_functions
from cadtwist.query.timeseries import TimeSeries
from tests.query.functions.calls import FUNCTIONS, STEP, Columns, clock_values, evaluated, line

SERIES = ["a", "b", "gaps", "big", "none", "coarse", "odd", "empty", "scale(a,2)", "group(a,b,coarse)"]
NUMBERS = ["0", "1", "-1", "2", "3", "5", "0.5", "-2.5", "99", "100", "150", "1e3", "1e300", "-1e300", "1000000", "inf"]
INTERVALS = ['"1min"', '"5min"', '"-90s"', '"1h"', '"7d"', '"1d"', '"0s"', '"x"', '""', '"1mon"', '"-"', '"+2min"']
TEXTS = ['"sum"', '"avg"', '"median"', '"p95"', '"a"', '"a.*"', '"("', '"%d"', '"%s %s"', '"\\\\1"', '""', '"si"',
         '"binary"', '"sumSeries"', '"asPercent"', '"sortByName"', '"holtWintersForecast"', '"days"', '"="', '">"',
         '"name"', '"%.cpu"', '"sumSeries(%)"', "true", "false", "none"]  # fmt: skip
ARGUMENTS = st.sampled_from([*SERIES, *NUMBERS, *INTERVALS, *TEXTS, "mapSeries(group(a,b),0)"])
LIKELY = {
    "seriesList": st.sampled_from(SERIES), "float": st.sampled_from(NUMBERS), "integer": st.sampled_from(NUMBERS),
    "interval": st.sampled_from(INTERVALS), "intOrInterval": st.sampled_from([*NUMBERS, *INTERVALS]),
    "seriesLists": st.just("mapSeries(group(a,b),0)"), "node": st.sampled_from(NUMBERS),
}  # fmt: skip


def gaps(pattern, window):
    (found,) = clock_values(pattern, window)
    values = found.values.copy()
    values[::3] = math.nan
    return [TimeSeries("x.gaps", found.start, found.end, found.step, values)]


SOURCES = {
    "a": clock_values,
    "b": lambda pattern, window: [*clock_values("b.x", window), *clock_values("b.y;t=u", window)],
    "gaps": gaps,
    "big": lambda pattern, window: [line("big", [1e308, -1e308, math.inf, -math.inf, 5e-324, None])],
    "coarse": lambda pattern, window: [line("coarse", [1, 2, None], step=7 * STEP)],
    "odd": lambda pattern, window: [line("sumSeries(odd.b,1)", [None, None], step=7)],
    "empty": lambda pattern, window: [line("empty", [])],
}


@st.composite
def calls(draw):
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    arguments = []
    for param in FUNCTIONS[name].params:
        if draw(st.integers(0, 9)) == 0:
            arguments.append(draw(ARGUMENTS))
        elif param.required or draw(st.booleans()):
            count = draw(st.integers(0, 3)) if param.multiple else 1
            arguments += [draw(LIKELY.get(param.type, st.sampled_from([*TEXTS, *NUMBERS]))) for _ in range(count)]
        else:
            break
    call = f"{name}({','.join(arguments)})"
    return draw(st.sampled_from([call, call, f"sumSeries({call})", f"{call}|aliasByNode(0)|sortByMaxima()"]))


class RegistryTests(SynchronousTestCase):
    @settings(max_examples=600, deadline=None, database=None)
    @given(calls(), st.sampled_from([0.0, 0.5, 1.0]))
    def test_any_arguments_are_taken_or_refused(self, target, xff):
        try:
            found = evaluated(target, Columns(**SOURCES), xff=xff, points=2_000_000)
        except (EvaluationError, QueryError):
            return
        for series in found:
            self.assertIsInstance(series, TimeSeries, target)
            self.assertEqual((series.values.dtype, series.values.ndim), (np.float64, 1), target)
            self.assertIsInstance(series.name, str)
            for time in (series.start, series.end, series.step):
                self.assertIsInstance(time, int, target)
            self.assertGreater(series.step, 0, target)
            self.assertTrue(all(isinstance(tag, str) for pair in series.tags.items() for tag in pair), target)

    def test_arguments_are_not_changed(self):
        """Series are shared within a request: each target sees them as they were read."""
        targets = [f"{name}(shared)" for name, function in FUNCTIONS.items()
                   if [param.type for param in function.params if param.required] in (["seriesList"], [])]  # fmt: skip
        self.assertGreater(len(targets), 30)
        shared = line("shared.x", [3.0, None, 1.0, 2.0])
        before = shared.values.copy()
        sources = Columns(shared=lambda _pattern, _window: [shared])
        for target in targets:
            if "name" in [param.name for param in FUNCTIONS[target.partition("(")[0]].params]:
                continue
            try:
                evaluated([target, "shared"], sources)
            except EvaluationError:
                continue
            np.testing.assert_array_equal(shared.values, before, target)
            self.assertEqual((shared.name, shared.tags), ("shared.x", {"name": "shared.x"}), target)

    def test_accounts(self):
        for functions in (FUNCTIONS, pie_functions()):
            for name, function in functions.items():
                account = account_of(name, function, functions)
                self.assertIn(account["group"], GROUPS)
                self.assertTrue(account["description"].strip().endswith((".", "%d`.")), name)
                self.assertEqual([one["name"] for one in account["params"]], [one.name for one in function.params])
        self.assertEqual(len(FUNCTIONS), 154)
        self.assertEqual(len({id(function) for function in FUNCTIONS.values()}), 145)
