"""Graphs as images; skipped where matplotlib is not installed."""

from __future__ import annotations

import json
from datetime import timezone
from importlib.util import find_spec

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.timeseries import TimeSeries
from cadtwist.web.errors import RefusedError
from cadtwist.web.image import GraphOptions, drawn, graph_options, slices_of
from cadtwist.web.params import Params
from tests.web.test_site import make
from tests.web.wire import get

MISSING = None if find_spec("matplotlib") else "matplotlib (the extra `graph`) is not installed"

NUMBERS = ("logBase", "yMin", "yMax", "min", "max", "lineWidth", "fontSize", "areaAlpha")
EDGES = (0.0, -1.0, 1.0000001, 1e-320, 1e15, 1e19, 1e308, -1e308)


def line(name, *values, **options):
    values = np.array(values, np.float64)
    return TimeSeries(name, 1_700_000_000, 1_700_000_000 + 60 * len(values), 60, values).drawn(**options)


class OptionTests(SynchronousTestCase):
    def test_options(self):
        told = [("width", "800"), ("height", "x"), ("yMin", "-5"), ("hideLegend", "true"), ("colorList", "red,#00f"),
                ("areaMode", "stacked"), ("fontSize", "9999"), ("graphOnly", "1"), ("title", "t" * 900)]  # fmt: skip
        options = graph_options(Params(told))
        self.assertEqual((options.width, options.height, options.y_min, options.y_max), (800, 250, -5.0, None))
        self.assertEqual((options.hide_legend, options.colors, options.area_mode), (True, ("red", "#00f"), "stacked"))
        self.assertEqual((options.font_size, options.graph_only, len(options.title)), (100.0, True, 500))
        self.assertEqual(graph_options(Params([("width", "1e9"), ("height", "-1")])), GraphOptions(4000, 16))
        self.assertEqual(graph_options(Params([])), GraphOptions())

    def test_slices(self):
        found = slices_of(["a:1", "b.c:2.5"], 0, 60)
        self.assertEqual([(one.name, one.values.tolist()) for one in found], [("a", [1.0]), ("b.c", [2.5])])
        self.assertIsNone(slices_of(["a:1", "a.*"], 0, 60))
        self.assertIsNone(slices_of([], 0, 60))


class ImageTests(SynchronousTestCase):
    skip = MISSING

    def test_kinds(self):
        found = [
            line("a", 1, np.nan, 3, color="red", alpha=0.5), line("b", 5, 6, 7, stacked=True, invisible=True),
            line("c", 1, 0, 2, drawAsInfinite=True), line("e"),
            line("d", 1e9, -1e9, np.inf, secondYAxis=True, dashed=5, lineWidth=3), line("$x^$\\frac", 1), line("_g", 2),
            line("f", np.nan),
        ]  # fmt: skip
        for form, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
            self.assertTrue(drawn(form, found, GraphOptions(), timezone.utc, False).startswith(start))
        for changes in (
            {"area_mode": "stacked"}, {"area_mode": "first"}, {"line_mode": "connected"}, {"line_mode": "staircase"},
            {"graph_only": True}, {"hide_axes": True}, {"null_is_zero": True}, {"log_base": 10.0},
            {"width": 16, "height": 16}, {"title": "$x^$", "y_title": "$\\frac$"}, {"y_min": 5.0, "y_max": 1.0},
            {"background": "nocolor", "foreground": "fff", "colors": ("x",)},
        ):  # fmt: skip
            image = drawn("png", found, GraphOptions(**changes), timezone.utc, False)
            self.assertTrue(image.startswith(b"\x89PNG"), changes)
        self.assertTrue(drawn("png", [], GraphOptions(), timezone.utc, False).startswith(b"\x89PNG"))

    @settings(max_examples=15)
    @given(st.dictionaries(st.sampled_from(NUMBERS), st.one_of(st.floats(), st.sampled_from(EDGES)).map(str)))
    def test_numbers_of_any_size(self, told):
        options = graph_options(Params([("width", "100"), ("height", "100"), *told.items()]))
        try:
            image = drawn("png", [line("a", 1, 3), line("b", 1e300, -5)], options, timezone.utc, False)
        except RefusedError as error:
            self.assertEqual(error.status, 400)
        else:
            self.assertTrue(image.startswith(b"\x89PNG"))

    def test_a_wide_logarithm(self):
        options = graph_options(Params([("logBase", "99999999999999999999"), ("width", "100"), ("height", "100")]))
        self.assertTrue(drawn("png", [line("a", 1, 3)], options, timezone.utc, False).startswith(b"\x89PNG"))

    def test_pies(self):
        found = [line("a", 1, 3), line("b", np.nan), line("c", -5), line("d", 2)]
        for mode in ("average", "maximum", "minimum"):
            self.assertTrue(drawn("png", found, GraphOptions(pie_mode=mode), timezone.utc, True).startswith(b"\x89PNG"))
        self.assertTrue(drawn("svg", [], GraphOptions(), timezone.utc, True).startswith(b"<?xml"))
        with self.assertRaises(RefusedError):
            drawn("png", found, GraphOptions(pie_mode="x"), timezone.utc, True)

    def test_doors(self):
        for fields, kind in (
            ({}, "image/png"), ({"format": "x"}, "image/png"), ({"format": "svg"}, "image/svg+xml"),
            ({"format": "json", "graphType": "pie"}, "image/png"),
            ({"format": "svg", "jsonp": "cb"}, "text/javascript"), ({"format": "pdf"}, "application/x-pdf"),
        ):  # fmt: skip
            reply = get(*make(), "/render", target="a.*", **{"from": "-3min"}, **fields)
            self.assertEqual((reply.status, reply.headers["content-type"]), (200, kind), fields)
        reply = get(*make(), "/render", target="a.*", **{"from": "-3min"}, format="svg", jsonp="cb")
        self.assertTrue(json.loads(reply.body[3:-1]).startswith("<?xml"))
        reply = get(*make(), "/render", target="a:1", graphType="pie")
        self.assertEqual((reply.status, reply.body[:4]), (200, b"\x89PNG"))
