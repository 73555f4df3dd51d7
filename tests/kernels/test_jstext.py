"""Tests of `cadtwist.kernels.jstext`: texts as node writes them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.jstext import js_text

NODE = {
    0.0: "0", 1.0: "1", -3.0: "-3", 0.1: "0.1", 320.5: "320.5", 1e-6: "0.000001", 1e-7: "1e-7", 1.5e-7: "1.5e-7",
    0.00012: "0.00012", 1.234e-5: "0.00001234", 1e16: "10000000000000000", 1e20: "100000000000000000000", 1e21: "1e+21",
    123456789012345680000.0: "123456789012345680000", 1.2345678901234569e23: "1.2345678901234569e+23", -5e-8: "-5e-8",
    5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308", math.inf: "Infinity", -math.inf: "-Infinity",
}  # fmt: skip


class JsTextTests(SynchronousTestCase):
    def test_as_node_writes(self) -> None:
        self.assertEqual([js_text(value) for value in NODE], list(NODE.values()))
        self.assertEqual([js_text(-0.0), js_text(math.nan)], ["0", "NaN"])

    def test_reads_back(self) -> None:
        @given(st.floats(allow_nan=False))
        def same(value: float) -> None:
            self.assertEqual(float(js_text(value)), value)

        same()
