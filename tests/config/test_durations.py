"""Spans of time as Cadent writes them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.durations import seconds


class SecondsTests(SynchronousTestCase):
    def test_spans(self) -> None:
        for text, expected in {
            "10s": 10.0,
            "1h30m": 5400.0,
            "300ms": 0.3,
            "168h": 604800.0,
            " 5 min ": 300.0,
            "1.5h": 5400.0,
            "7d": 604800.0,
            "2w": 1209600.0,
            "1mon": 2592000.0,
            "10y": 315360000.0,
            "1m 1s": 61.0,
            "5µs": 5e-6,
            "0s": 0.0,
        }.items():
            self.assertAlmostEqual(seconds(text), expected, 9, text)

    def test_what_is_none(self) -> None:
        for text in ("", " ", "s", "5", "5x", "5s5", "-5s", "5 s x", "1e3s", "9" * 20 + "s"):
            self.assertRaises(ValueError, seconds, text)
