"""Other steps: summarize, smartSummarize, hitcount; the recorded cases are replayed in tests.web.test_golden."""

from __future__ import annotations

import math
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.evaluate import EvaluationError
from tests.query.functions.calls import START, Columns, clock_values, evaluated, line, listed
from tests.query.test_reducing import NUMBERS, plain

BERLIN = ZoneInfo("Europe/Berlin")


def bucketed(series, way, interval, start, end, xff):
    """Return one value per bucket, point by point."""
    points = [(series.start + i * series.step, value) for i, value in enumerate(listed(series))]
    results = []
    for begin in range(start, end, interval):
        inside = [value for time, value in points if begin <= time < begin + interval]
        known = [value for value in inside if value is not None]
        enough = known and len(known) / (interval / series.step) >= xff
        results.append(plain(way, inside) if enough else None)
    return results


def hits(series, interval, start, count):
    totals = [None] * count
    for i, value in enumerate(listed(series)):
        if value is None:
            continue
        for second in range(series.start + i * series.step, series.start + (i + 1) * series.step):
            bucket = (second - start) // interval
            if 0 <= bucket < count:
                totals[bucket] = (totals[bucket] or 0) + value
    return totals


class SummarizeTests(SynchronousTestCase):
    def close(self, found, expected):
        self.assertEqual(len(found), len(expected))
        for one, other in zip(found, expected, strict=True):
            if one is None or other is None:
                self.assertEqual(one, other)
            else:
                self.assertTrue(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-5), (one, other))

    @settings(max_examples=120, deadline=None, database=None)
    @given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(30, 400), st.sampled_from([60, 7, 100]),
           st.sampled_from(["sum", "avg", "max", "last", "count", "median", "avg_zero", "multiply", "stddev"]),
           st.sampled_from([0.0, 0.5]), st.booleans())  # fmt: skip
    def test_buckets(self, values, interval, step, way, xff, aligned):
        series = line("a", values, START + 17, step)
        sources = Columns(a=lambda _pattern, _window: [series])
        suffix = ",true" if aligned else ""
        (found,) = evaluated(f'summarize(a,"{interval}s","{way}"{suffix})', sources, xff=xff)
        if aligned:
            start, end = series.start, series.start + -(-(series.end - series.start) // interval) * interval
        else:
            start, end = series.start // interval * interval, series.end // interval * interval + interval
        self.close(listed(found), bucketed(series, way, interval, start, end, xff))
        self.assertEqual((found.start, found.end, found.step), (start, end, interval))
        (smart,) = evaluated(f'smartSummarize(a,"{interval}s","{way}")', sources, xff=xff)
        self.close(listed(smart), bucketed(series, way, interval, series.start, series.end, xff))

    @settings(max_examples=120, deadline=None, database=None)
    @given(st.lists(NUMBERS, min_size=1, max_size=15), st.integers(5, 200), st.sampled_from([10, 7, 60]))
    def test_hits(self, values, interval, step):
        series = line("a", values, START + 3, step)
        (found,) = evaluated(f'hitcount(a,"{interval}s")', Columns(a=lambda _pattern, _window: [series]))
        count = -(-(series.end - series.start) // interval)
        self.assertEqual((found.end, found.start), (series.end, series.end - count * interval))
        self.close(listed(found), hits(series, interval, found.start, count))

    def test_alignment(self):
        """Both ask for their argument again, from the beginning of a unit on, in the zone of the request."""
        for unit, zone, start in (
            ("hours", BERLIN, START), ("days", BERLIN, 1699916400), ("weeks", BERLIN, 1699830000),
            ("weeks3", BERLIN, 1699398000), ("months", BERLIN, 1698793200), ("years", BERLIN, 1672527600),
            ("minutes", BERLIN, START + 60), ("seconds", BERLIN, START + 100),
        ):  # fmt: skip
            sources = Columns(a=clock_values)
            evaluated(f'smartSummarize(a,"1h","sum","{unit}")', sources, START + 100, START + 700, zone)
            self.assertIn(("a", start, START + 700), sources.asked, unit)
        for interval, start in (("30s", START + 100), ("1min", START + 60), ("2h", START), ("3d", 1699916400)):
            sources = Columns(a=clock_values)
            (found,) = evaluated(f'hitcount(a,"{interval}",true)', sources, START + 100, START + 700, BERLIN)
            self.assertIn(("a", start, START + 700), sources.asked, interval)
            self.assertEqual(found.name, f'hitcount(a, "{interval}", true)')

    def test_refusals(self):
        for target in ('summarize(a,"0min")', 'summarize(a,"-1min")', 'summarize(a,"1h","p95")', "summarize(a,60)",
                       'smartSummarize(a,"1h","sum","fortnights")', 'smartSummarize(a,"1h","sum","weeks9")',
                       'hitcount(a,"-5min")', 'hitcount(a,"x")'):  # fmt: skip
            with self.assertRaises(EvaluationError, msg=target):
                evaluated(target, Columns(a={"a": [1, 2]}))

    def test_budget(self):
        with self.assertRaises(EvaluationError) as caught:
            evaluated('summarize(a,"1s")', Columns(a=lambda *_: [line("a", [1, 2], 0, 10**8)]), points=10**6)
        self.assertIn("more points", str(caught.exception))
