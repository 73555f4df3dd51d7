"""Tests of `cadtwist.config.statsd`: statsd's config.js."""

from __future__ import annotations

import json
import os
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.statsd import read_statsd
from cadtwist.config.statsdmodel import KeyFlush, Peer, StatsdConfig, StatsdLog, StatsdServer
from cadtwist.model.statsdstyle import GraphiteNaming, Histogram, StatsdStyle
from tests.config.reading import bad_cases

FOLDER = os.path.join(os.path.dirname(__file__), "data", "statsd")
FULL = """{
  servers: [{server: './servers/udp', address: '127.0.0.1', port: 8125},
            {server: './servers/tcp', address_ipv6: true, socket: '/run/statsd.sock', socket_mod: 0x180}],
  backends: ['./backends/graphite', './backends/console', './backends/repeater'],
  graphiteHost: 'g.example', graphitePort: 2103, graphitePicklePort: 2104, graphiteProtocol: 'pickle',
  flushInterval: 5000, percentThreshold: [90, -10, 99.9], flush_counts: false,
  histogram: [{metric: 'render', bins: [0.01, 1, 'inf']}, {metric: '', bins: []}],
  calculatedTimerMetrics: ['count', 'upper_percent'],
  deleteIdleStats: true, deleteGauges: false, gaugesMaxTTL: 3, prefixStats: 'own', keyNameSanitize: false,
  keyFlush: {interval: 60000, percent: 50, log: '/tmp/keys.log'}, debug: true, dumpMessages: true,
  mgmt_address: '127.0.0.1', mgmt_port: 8127, healthStatus: 'down', title: false,
  console: {prettyprint: false}, log: {backend: 'syslog', application: 'app', level: 'LOG_DEBUG'},
  graphite: {legacyNamespace: false, globalPrefix: 'g', prefixCounter: 'c', prefixTimer: 't', prefixGauge: 'ga',
             prefixSet: 's', globalSuffix: 'x'},
  repeater: [{host: '10.0.0.1', port: 8125}], repeaterProtocol: 'tcp', automaticConfigReload: false,
}"""


def read(text: str) -> tuple[StatsdConfig, Problems]:
    problems = Problems()
    return read_statsd(text, "config.js", problems), problems


class ReadStatsdTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        config, problems = read("{}")
        self.assertEqual(problems.reports, [])
        self.assertEqual(replace(config, shown=()), StatsdConfig())

    def test_every_option(self) -> None:
        config, problems = read(FULL)
        self.assertEqual(problems.texts("error") + problems.texts("warning"), [])
        style = StatsdStyle(
            5.0, (90.0, -10.0, 99.9), (Histogram("render", (0.01, 1.0, float("inf"))), Histogram("", ())),
            ("count", "upper_percent"), True, True, True, False, 3, "own",
        )  # fmt: skip
        wanted = StatsdConfig(
            servers=(
                StatsdServer(address="127.0.0.1"),
                StatsdServer(transport="tcp", address="::", ipv6=True, socket="/run/statsd.sock", socket_mode=0o600),
            ),
            backends=("graphite", "console", "repeater"),
            graphite_host="g.example", graphite_port=2103, graphite_pickle_port=2104, graphite_protocol="pickle",
            style=style, naming=GraphiteNaming(False, "g", "c", "t", "ga", "s", "x", "own", False), sanitise_keys=False,
            key_flush=KeyFlush(interval_s=60.0, percent=50.0, path="/tmp/keys.log"), management_address="127.0.0.1",
            management_port=8127, healthy=False, title="", console_prettyprint=False,
            log=StatsdLog(backend="syslog", application="app", level="LOG_DEBUG"), debug=True, dump_messages=True,
            repeater=(Peer("10.0.0.1", 8125),), repeater_protocol="tcp", reload=False, shown=config.shown,
        )  # fmt: skip
        self.assertEqual(config, wanted)

    def test_one_server_from_the_top_level(self) -> None:
        config, _ = read("{server: './servers/tcp', port: 9000, address: '::1'}")
        self.assertEqual(config.servers, (StatsdServer(transport="tcp", address="::1", port=9000),))

    def test_thresholds_in_every_spelling(self) -> None:
        for text, wanted in {"95": (95.0,), "'95'": (95.0,), "0": (90.0,), "[]": (), "[0]": (0.0,),
                             "[50, '99.9', 50]": (50.0, 99.9)}.items():  # fmt: skip
            self.assertEqual(read(f"{{percentThreshold: {text}}}")[0].style.percent_thresholds, wanted, text)

    def test_life_of_gauges(self) -> None:
        for text, wanted in {"5": 5, "1": 1, "0": 1, "-3": 1, "2.5": 1}.items():
            self.assertEqual(read(f"{{gaugesMaxTTL: {text}}}")[0].style.gauges_max_ttl, wanted, text)

    def test_idle_deletes_what_is_not_set_apart(self) -> None:
        style = read("{deleteIdleStats: true, deleteSets: false}")[0].style
        self.assertEqual(
            (style.delete_counters, style.delete_timers, style.delete_sets, style.delete_gauges),
            (True, True, False, True),
        )

    def test_what_the_management_shows(self) -> None:
        with open(os.path.join(FOLDER, "..", "..", "..", "data", "statsd", "mgmt.json"), encoding="utf-8") as file:
            recorded = json.load(file)
        before: dict[str, Any] = {"percentThreshold": [90]}
        added = {"graphiteHost": "127.0.0.1", "graphitePort": 1, "graphitePicklePort": 1, "port": 2,
                 "address": "127.0.0.1", "mgmt_port": 3, "mgmt_address": "127.0.0.1"}  # fmt: skip
        config, _ = read(json.dumps({**before, **added, **recorded["config"]}))
        reply = next(each["reply"] for each in recorded["mgmt"] if each["send"] == "config\n")
        for name, number in (("GRAPHITE", "1"), ("PORT", "2"), ("MGMT", "3")):
            reply = reply.replace(f": {name}\n", f": {number}\n")
        self.assertEqual("\n" + "".join(f"{line}\n" for line in config.shown), reply)

    def test_what_is_made_of_values_is_shown(self) -> None:
        text = "{gaugesMaxTTL: 2.5, flushInterval: '5000', deleteIdleStats: true, deleteSets: false, log: null}"
        config, _ = read(text)
        self.assertEqual(
            config.shown,
            ("gaugesMaxTTL: 1", "flushInterval: 5000", "deleteIdleStats: true", "deleteSets: false",
             "deleteCounters: true", "deleteTimers: true", "deleteGauges: true"),
        )  # fmt: skip
        own = ("gaugesMaxTTL: 1", "deleteIdleStats: false", "flushInterval: 10000")
        self.assertEqual(read("{flushInterval: 0}")[0].shown[0], "flushInterval: 10000")
        self.assertEqual(read("{}")[0].shown[:3], own)

    def test_an_empty_suffix_is_one(self) -> None:
        config, _ = read("{graphite: {globalSuffix: ''}, prefixStats: ''}")
        self.assertEqual((config.naming.global_suffix, config.naming.own("numStats")), ("", ".numStats."))
        self.assertEqual(config.naming.affixes("g", ""), ("stats.gauges.", "."))
        self.assertEqual(read("{}")[0].naming.affixes("g", ""), ("stats.gauges.", ""))

    def test_nested_values_are_shown_one_level_deep(self) -> None:
        config, _ = read("{graphite: {legacyNamespace: false}, histogram: [{metric: 'a', bins: [1, 2]}], debug: true}")
        self.assertEqual(
            config.shown[:3], ("graphite > legacyNamespace: false", "histogram > 0: [object Object]", "debug: true")
        )

    def test_every_fault_with_its_line(self) -> None:
        cases = 0
        for name, text, expected in bad_cases(FOLDER):
            problems = Problems()
            read_statsd(text, name, problems)
            self.assertEqual([f"{each.weight}: {each}" for each in problems.reports], expected, name)
            cases += 1
        self.assertGreater(cases, 0)

    def test_histograms_are_bounded(self) -> None:
        _, problems = read("{histogram: [" + "{metric: 'a', bins: [1]}," * 251 + "]}")
        self.assertEqual(problems.texts("error"), ["config.js:1: histogram: more than 250 histograms"])


class SampleTests(SynchronousTestCase):
    """conf/statsd.js says what is so without it."""

    def test_the_sample_has_every_default(self) -> None:
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), "conf", "statsd.js")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        config, problems = read(text)
        self.assertEqual(problems.reports, [])
        self.assertEqual(replace(config, shown=()), StatsdConfig())
        for option in ("socket", "socket_mod", "servers", "keyFlush", "graphiteHost"):
            self.assertIn(f"// {option}:", text)
