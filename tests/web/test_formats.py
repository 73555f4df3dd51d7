"""The fast bodies against the plain ones of the standard library."""

from __future__ import annotations

import csv
import io
import json
import math
import pickle
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.timeseries import TimeSeries, name_tags
from cadtwist.web.formats import render_pieces
from tests.query.functions.calls import START, Columns, evaluated

NUMBERS = st.one_of(
    st.floats(),
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, 1e-4, 9.99e-5, 1e16, 9999999999999998.0, math.inf, -math.inf, math.nan]),
)
SERIES = st.builds(
    lambda name, start, step, values: TimeSeries(
        name, start * step, (start + len(values)) * step, step, np.array(values, np.float64)
    ),
    st.text('ab",;=.ü', max_size=8),
    st.integers(0, 10**6),
    st.sampled_from([1, 60, 3600]),
    st.lists(NUMBERS, max_size=6),
)
BERLIN = ZoneInfo("Europe/Berlin")


def plain(series):
    values = [None if math.isnan(value) else value for value in series.values.tolist()]
    return [(value, series.start + series.step * i) for i, value in enumerate(values)]


def body(form, found, zone=timezone.utc, no_nulls=False, pretty=False):
    return b"".join(render_pieces(form, found, zone, no_nulls, pretty)).decode()


class FormatTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(SERIES, max_size=4), st.booleans(), st.booleans())
    def test_json(self, found, no_nulls, pretty):
        shown = []
        for series in found:
            points = [point for point in plain(series) if not no_nulls or point[0] is not None]
            if points or not no_nulls:
                shown.append({"target": series.name, "tags": name_tags(series.name), "datapoints": points})
        expected = json.dumps(shown, indent=2 if pretty else None).replace("Infinity", "1e9999")
        self.assertEqual(body("json", found, no_nulls=no_nulls, pretty=pretty), expected)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(SERIES, max_size=4))
    def test_raw(self, found):
        expected = "".join(
            f"{one.name},{one.start},{one.end},{one.step}|{','.join(repr(value) for value, _ in plain(one))}\n"
            for one in found
        )
        self.assertEqual(body("raw", found), expected)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(SERIES, max_size=4), st.sampled_from([timezone.utc, BERLIN]))
    def test_csv(self, found, zone):
        text = io.StringIO()
        writer = csv.writer(text, dialect="excel")
        for one in found:
            for value, time in plain(one):
                writer.writerow((one.name, datetime.fromtimestamp(time, zone).strftime("%Y-%m-%d %H:%M:%S"), value))
        self.assertEqual(body("csv", found, zone), text.getvalue())

    def test_csv_shows_all_values_and_no_missing_name(self):
        (line,) = evaluated(f'verticalLine("{START + 60}")', Columns())
        self.assertEqual(body("csv", [line]), ",2023-11-14 21:01:00,1.0\r\n,2023-11-14 21:01:01,1.0\r\n")

    def test_numbers_are_floats_for_clusters(self):
        rendered = [TimeSeries("a", 60, 180, 60, np.array([1.0, math.nan]), expression="a*")]
        for form, decode in (("msgpack", msgspec.msgpack.decode), ("pickle", pickle.loads)):
            (found,) = decode(b"".join(render_pieces(form, rendered, timezone.utc, False, False)))
            self.assertEqual((found["values"], found["pathExpression"]), ([1.0, None], "a*"))
            self.assertIs(type(found["values"][0]), float)

    def test_rickshaw_and_dygraph(self):
        found = [
            TimeSeries("a", 60, 180, 60, np.array([1.0, math.inf])),
            TimeSeries("b", 60, 120, 60, np.array([math.nan])),
        ]
        self.assertIn('{"x": 120, "y": Infinity}', body("rickshaw", found))
        plain = json.loads(body("rickshaw", found))
        self.assertEqual(body("rickshaw", found, pretty=True), json.dumps(plain, indent=2))
        self.assertEqual(body("dygraph", found), '{"labels" : ["Time", "a", "b"], "data" : [[60000, 1.0, null]]}')
        self.assertEqual(body("dygraph", []), "{}")

    def test_values_that_all_lie_behind_the_end(self):
        """Their series are there, without a point."""
        late, none = TimeSeries("a", 120, 60, 60, np.array([1.0])), TimeSeries("b", 60, 60, 60, np.zeros(0))
        shown = '{"target": "a", "tags": {"name": "a"}, "datapoints": []}'
        self.assertEqual(body("json", [late]), f"[{shown}]")
        self.assertEqual(body("json", [late], pretty=True), json.dumps(json.loads(f"[{shown}]"), indent=2))
        self.assertEqual(body("dygraph", [late, none]), '{"labels" : ["Time", "a"], "data" : []}')
        self.assertEqual(body("dygraph", [none]), '{"labels" : ["Time", "b"], "data" : []}')
