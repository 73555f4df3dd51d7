"""Tests of `cadtwist.config.statsite`: statsite's ini."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.statsdmodel import StatsiteConfig
from cadtwist.config.statsite import read_statsite
from cadtwist.model.statsdstyle import StatsiteHistogram, StatsiteNaming, StatsiteStyle
from tests.config.reading import bad_cases

FOLDER = os.path.join(os.path.dirname(__file__), "data", "statsite")
FULL = """
; statsite
[statsite]
PORT = 8126
udp_port: 8127
udp_rcvbuf = 1048576
bind_address = 127.0.0.1 ; local
parse_stdin = yes
log_level = info
log_facility = daemon
flush_interval = 5
aligned_flush = 1
timer_eps = 0.02
set_eps = 0.1
stream_cmd = python sink.py "a=b" 100%
daemonize = false
pid_file = /tmp/statsite.pid
binary_stream = TRUE
prefix_binary_stream = 1
input_counter = numStats
use_type_prefix = no
global_prefix = g.
kv_prefix = K.
gauges_prefix = G.
counts_prefix = C.
timers_prefix = T.
sets_prefix =
extended_counters = true
legacy_extended_counters = 0
timers_include = count, mean, sam
quantiles = 0.5, 0.999

[histogram_api]
prefix=api
min=0
max=100
width=25
[histogram]
prefix=
min=-10
max=10
width=0.5
"""


def read(text: str) -> tuple[StatsiteConfig, Problems]:
    problems = Problems()
    return read_statsite(text, "statsite.ini", problems), problems


class ReadStatsiteTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        config, problems = read("")
        self.assertEqual((config, problems.reports, config.precision), (StatsiteConfig(), [], 12))

    def test_every_option(self) -> None:
        config, problems = read(FULL)
        self.assertEqual((problems.texts("error"), problems.texts("warning")), ([], []))
        idle = [text.split(": ")[1] for text in problems.texts("notice")]
        self.assertEqual(idle, ["log_level", "log_facility", "pid_file"])
        style = StatsiteStyle(
            5, True, (0.5, 0.999), ("mean", "count", "sample_rate"), True, False,
            (StatsiteHistogram("api", 0.0, 100.0, 25.0), StatsiteHistogram("", -10.0, 10.0, 0.5)), "numStats",
        )  # fmt: skip
        wanted = StatsiteConfig(
            tcp_port=8126, udp_port=8127, udp_receive_bytes=1048576, bind_address="127.0.0.1", parse_stdin=True,
            log_level="INFO", log_facility="daemon", style=style,
            naming=StatsiteNaming("g.", False, "K.", "G.", "C.", "T.", ""), timer_error=0.02, set_error=0.1,
            stream_command='python sink.py "a=b" 100%', binary_stream=True, prefix_binary_stream=True,
            pid_file="/tmp/statsite.pid",
        )  # fmt: skip
        self.assertEqual(config, wanted)
        self.assertEqual(config.precision, 7)

    def test_every_fault_with_its_line(self) -> None:
        cases = 0
        for name, text, expected in bad_cases(FOLDER):
            problems = Problems()
            read_statsite(text, name, problems)
            self.assertEqual([f"{each.weight}: {each}" for each in problems.reports], expected, name)
            cases += 1
        self.assertGreater(cases, 0)

    def test_histograms_are_bounded(self) -> None:
        text = "".join(f"[histogram_{n}]\nprefix=a\nmin=0\nmax=9\nwidth=3\n" for n in range(251))
        self.assertEqual(read(text)[1].texts("error"), ["statsite.ini: more than 250 histograms"])


class SampleTests(SynchronousTestCase):
    """conf/statsite.ini says what is so without it."""

    def test_the_sample_has_every_default(self) -> None:
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "conf", "statsite.ini")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual((read(text)[0], read(text)[1].reports), (StatsiteConfig(), []))
        for option in FULL.split("[histogram_api]", maxsplit=1)[0].splitlines():
            name = option.replace(":", "=").partition("=")[0].strip().lower()
            if name and name[0] not in ";[":
                self.assertIn(name, text)
