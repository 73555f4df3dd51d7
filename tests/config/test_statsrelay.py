"""statsrelay's JSON into a Config."""

from __future__ import annotations

import json
import os
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import DestinationConfig, FloodConfig, GroupConfig, QueueConfig, ReconnectConfig
from cadtwist.config.statsrelay import load_statsrelay
from tests.config.reading import bad_cases
from tests.config.test_toml import read_back

_HERE = os.path.dirname(os.path.abspath(__file__))
_DATA = os.path.join(_HERE, "data", "statsrelay")
_RECORDED = os.path.join(os.path.dirname(_HERE), "data", "statsrelay")


def load(statsd: object, checking: bool = False, pid_file: str = "") -> tuple[Config, Problems]:
    problems = Problems()
    text = json.dumps({"statsd": statsd})
    return load_statsrelay(text, "s.json", problems, checking=checking, pid_file=pid_file), problems


def good(statsd: object) -> Config:
    config, problems = load(statsd)
    assert problems.reports == [], [str(report) for report in problems.reports]
    assert read_back(config) == (config, [])
    return config


class DefaultsTests(SynchronousTestCase):
    def test_a_map_of_shards(self) -> None:
        config = good({"shard_map": ["h:1", "h:1", "g:2:udp", "h:1:tcp"]})
        self.assertEqual(
            config.listeners,
            (
                Listener(protocol="line", interface="127.0.0.1", port=8125),
                Listener(protocol="line", transport="udp", interface="127.0.0.1", port=8125),
            ),
        )
        (relay,) = config.relays
        self.assertEqual(
            relay.groups,
            (
                GroupConfig(
                    name="0",
                    method="shards",
                    members=("h:1:tcp", "h:1:tcp", "g:2:udp", "h:1:tcp"),
                    hash_keys=("h:1", "h:1", "g:2:udp", "h:1:tcp"),
                ),
            ),
        )
        lines = relay.lines
        self.assertEqual(
            (lines.format, lines.validate, lines.validate_tags, lines.strict), ("statsd", True, True, False)
        )
        self.assertTrue(lines.status_commands)
        queue = QueueConfig(max_bytes=134217728, resend_window_s=0.0, resend_window_bytes=0)
        reconnect = ReconnectConfig(timeout_s=2.0)
        self.assertEqual(
            config.destinations,
            (
                DestinationConfig(name="h:1:tcp", host="h", port=1, cork=True, queue=queue, reconnect=reconnect),
                DestinationConfig(name="g:2:udp", transport="udp", host="g", port=2, queue=queue, reconnect=reconnect),
            ),
        )
        self.assertEqual(config.limits.udp_receive_bytes, 2 << 20)
        self.assertEqual((config.processes.handover, config.self_metrics.interval_s), ("statsrelay", 0.0))
        self.assertIsNone(config.health_metrics)

    def test_every_recorded_configuration_is_accepted(self) -> None:
        with open(os.path.join(_RECORDED, "scenarios.json"), encoding="utf-8") as file:
            scenarios = json.load(file)
        self.assertTrue(scenarios)
        for scenario in scenarios:
            text = json.dumps(scenario["config"])
            for number, name in enumerate(("BIND", *(f"BACK{number}" for number in range(9)))):
                text = text.replace(name, str(9000 + number))
            good(json.loads(text)["statsd"])


class KeyTests(SynchronousTestCase):
    def test_every_key_of_the_object(self) -> None:
        config = good(
            {
                "bind": "[::1]:9",
                "http": "127.0.0.1:10",
                "shard_map": ["h:1"],
                "validate": False,
                "validate_tags": False,
                "point_tag_regex": "x([[:digit:]])",
                "strict": True,
                "tcp_cork": False,
                "max_send_queue": 5000,
                "auto_reconnect": True,
                "reconnect_threshold": 1,
                "udp_receive_buffer_size": 70000,
                "spool_dir": "/s",
                "spool_bytes": 1 << 20,
                "spool_max_bytes": 1 << 30,
            }
        )
        self.assertEqual(
            [door.address for door in config.listeners], ["tcp:[::1]:9", "udp:[::1]:9", "tcp:127.0.0.1:10"]
        )
        self.assertEqual(config.listeners[2].protocol, "ops")
        lines = config.relays[0].lines
        self.assertEqual((lines.validate, lines.validate_tags, lines.point_tag_regex), (False, False, "(?a)x([0-9])"))
        self.assertTrue(lines.strict)
        (destination,) = config.destinations
        queue = destination.queue
        self.assertEqual((queue.max_bytes, queue.reconnect_share, queue.spool_bytes), (5000, 1.0, 1 << 20))
        self.assertEqual((destination.cork, config.limits.udp_receive_bytes), (False, 70000))
        self.assertEqual((config.spool.directory, config.spool.max_bytes), ("/s", 1 << 30))

    def test_every_key_of_a_group(self) -> None:
        group = {
            "shard_map": ["h:1"],
            "prefix": "p.",
            "suffix": ".s",
            "input_filter": "^a",
            "input_blacklist": "b$",
            "sampling_threshold": 1,
            "sampling_window": 2,
            "timer_sampling_threshold": 300,
            "timer_sampling_window": 4,
            "timer_flush_min_max": True,
            "gauge_sampling_threshold": 5,
            "gauge_sampling_window": 6,
            "counter_cardinality": 7,
            "timer_cardinality": 8,
            "gauge_cardinality": 9,
            "hm_key_expiration_frequency": 10,
            "hm_key_ttl": 11,
        }
        config = good({"duplicate_to": group})
        (found,) = config.relays[0].groups
        self.assertEqual((found.name, found.prefix, found.suffix), ("0", "p.", ".s"))
        self.assertEqual((found.input_filter, found.input_blacklist), ("(?a)^a", "(?a)b$"))
        sampling = found.sampling
        self.assertEqual(sampling.counters, FloodConfig(threshold=1, window_s=2, cardinality=7))
        self.assertEqual(sampling.timers, FloodConfig(threshold=300, window_s=4, cardinality=8))
        self.assertEqual(sampling.gauges, FloodConfig(threshold=5, window_s=6, cardinality=9))
        self.assertEqual((sampling.timer_flush_min_max, sampling.reservoir_size), (True, 300))
        self.assertEqual((sampling.purge_interval_s, sampling.key_ttl_s), (10, 11))
        self.assertEqual(good({"duplicate_to": [group]}).relays, config.relays)

    def test_groups_are_numbered_with_the_primary_first(self) -> None:
        config = good({"shard_map": ["h:1"], "duplicate_to": [{"prefix": "x."}, {"shard_map": ["h:1", "g:1"]}]})
        names = [(group.name, group.members) for group in config.relays[0].groups]
        self.assertEqual(names, [("0", ("h:1:tcp",)), ("1", ()), ("2", ("h:1:tcp", "g:1:tcp"))])
        self.assertEqual(len(config.destinations), 2)

    def test_health_metrics_have_backends_of_their_own(self) -> None:
        for key in ("health_metrics_to", "self_stats"):
            config = good({"shard_map": ["h:1"], key: {"shard_map": ["h:1"], "prefix": "m."}})
            assert config.health_metrics is not None
            group = config.health_metrics.group
            self.assertEqual((group.members, group.hash_keys, group.prefix), (("health/h:1:tcp",), ("h:1",), "m."))
            self.assertEqual(len(config.destinations), 2)

    def test_the_queue_has_two_spellings(self) -> None:
        config = good({"shard_map": ["h:1"], "max-send-queue": 99})
        self.assertEqual((config.destinations[0].queue.max_bytes, config.destinations[0].queue.spool_bytes), (99, 0))
        self.assertEqual(config.destinations[0].queue.reconnect_share, inf)

    def test_an_open_bind_and_null(self) -> None:
        config = good({"bind": ":7", "shard_map": ["h:1"], "validate": None})
        self.assertEqual(config.listeners[0], Listener(protocol="line", interface="", port=7))

    def test_nothing_to_send_to_is_a_fault_but_not_of_a_check(self) -> None:
        for statsd in ({}, {"duplicate_to": {"prefix": "x"}}, None):
            self.assertEqual([report.text for report in load(statsd)[1].reports], ["statsd has no backends"])
            self.assertEqual(load(statsd, checking=True)[1].reports, [])

    def test_the_pid_file_is_that_of_the_command_line(self) -> None:
        self.assertEqual(load({"shard_map": ["h:1"]}, pid_file="/p")[0].processes.pid_file, "/p")


class FaultTests(SynchronousTestCase):
    def test_bad_files_tell_their_faults(self) -> None:
        cases = list(bad_cases(_DATA))
        self.assertTrue(cases)
        for name, text, expected in cases:
            problems = Problems()
            load_statsrelay(text, name, problems)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)

    def test_sampling_without_validation(self) -> None:
        """One group alone: refused; of a list: left out."""
        sampled = {"shard_map": ["h:1"], "sampling_threshold": 1, "sampling_window": 1}
        self.assertTrue(load({"validate": False, "duplicate_to": sampled})[1].failed)
        config, problems = load({"validate": False, "shard_map": ["h:1"], "duplicate_to": [sampled]})
        self.assertEqual([report.weight for report in problems.reports], ["warning"])
        self.assertEqual(len(config.relays[0].groups), 1)

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.dictionaries(
            st.sampled_from(["bind", "shard_map", "duplicate_to", "health_metrics_to", "validate", "max_send_queue"]),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=3),
                    st.dictionaries(st.sampled_from(["shard_map", "prefix", "sampling_threshold"]), inner, max_size=3),
                ),
                max_leaves=6,
            ),
        )
    )
    def test_any_json_loads_or_has_faults(self, statsd: dict[str, object]) -> None:
        load(statsd)
