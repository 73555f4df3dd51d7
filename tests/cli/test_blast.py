"""`cadtwist blast`, without a network."""

from __future__ import annotations

import argparse
import io
import pickle
import random
import re
import struct

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.blast import Payloads, Totals, connect, run, seconds

WORDS = ("test", "house", "here")
NOW = 1_700_000_000


class PayloadTests(SynchronousTestCase):
    def payloads(self, form: str, size: int = 512) -> Payloads:
        return Payloads(form, WORDS, 3, size, random.Random(1))

    def test_lines_fill_the_buffer_and_never_overflow_it(self) -> None:
        for form in ("graphite", "statsd"):
            payloads = self.payloads(form)
            for _ in range(200):
                data, lines = payloads.next(NOW)
                self.assertLessEqual(len(data), 512)
                self.assertGreater(len(data), 512 - 80)
                self.assertEqual(data.count(b"\n"), lines)
                self.assertTrue(data.endswith(b"\n"))

    def test_a_tiny_buffer_sends_line_by_line(self) -> None:
        payloads = self.payloads("graphite", 1)
        self.assertEqual([payloads.next(NOW)[1] for _ in range(5)], [1] * 5)

    def test_graphite_lines(self) -> None:
        data, _ = self.payloads("graphite").next(NOW)
        for line in data.decode().splitlines():
            self.assertRegex(line, rf"^graphitetest(\.(test|house|here)){{3}} \d{{1,4}} {NOW}$")

    def test_statsd_lines_have_a_rate_above_zero(self) -> None:
        data, _ = self.payloads("statsd", 20000).next(NOW)
        for line in data.decode().splitlines():
            found = re.fullmatch(r"statdtest(\.\w+){3}:\d{1,4}\|(c|g|ms)\|@(0\.\d\d)", line)
            assert found is not None
            self.assertGreater(float(found[3]), 0)

    def test_pickle_frames(self) -> None:
        data, points = self.payloads("pickle").next(NOW)
        self.assertEqual(struct.unpack("!L", data[:4])[0], len(data) - 4)
        decoded = pickle.loads(data[4:])
        self.assertEqual(len(decoded), points)
        name, (when, value) = decoded[0]
        self.assertRegex(name, r"^graphitetest(\.\w+){3}$")
        self.assertEqual(when, NOW)
        self.assertIsInstance(value, int)

    def test_the_same_seed_gives_the_same_load(self) -> None:
        self.assertEqual(self.payloads("statsd").next(NOW), self.payloads("statsd").next(NOW))


class TextTests(SynchronousTestCase):
    def test_durations(self) -> None:
        durations = {"0.1s": 0.1, "250ms": 0.25, "1m30s": 90.0, "2": 2.0, "0": 0.0, ".5h": 1800.0}
        for text, expected in durations.items():
            self.assertAlmostEqual(seconds(text), expected)
        for text in ("", "x", "1 s", "-1s", "1d"):
            self.assertRaises(argparse.ArgumentTypeError, seconds, text)

    def test_urls_that_lead_nowhere(self) -> None:
        for url in ("ftp://x:1", "tcp://hostonly", "udp://:"):
            self.assertRaises(ValueError, connect, url)

    def test_arguments_that_cannot_be_end_it_before_anything_is_sent(self) -> None:
        for argv in (["--servers", "zzz"], ["--servers", " ,"], ["--words", ","], ["--servers", "tcp://h:1,ftp://x:1"]):
            self.assertEqual(run(argv, io.StringIO(), {}), 2)
        for argv in (["--forks", "0"], ["--forks", "100000"], ["--buffer", "0"], ["--words_per_stat", "-1"]):
            self.assertRaises(SystemExit, run, argv, io.StringIO(), {})

    def test_totals_end_at_the_limit(self) -> None:
        totals = Totals(10)
        self.assertTrue(totals.add(6))
        self.assertTrue(totals.add(100, failed=True))
        self.assertFalse(totals.add(4))
        self.assertEqual((totals.lines, totals.failed), (10, 1))
