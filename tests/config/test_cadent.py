"""Cadent's main file into a Config."""

from __future__ import annotations

import os
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.cadent import load_cadent
from cadtwist.config.cadentsection import destination_of
from cadtwist.config.errors import Problems
from cadtwist.config.load import read_file
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import (
    DestinationConfig,
    FilterRule,
    GroupConfig,
    HealthConfig,
    LineConfig,
    OpsConfig,
    QueueConfig,
    StatsdEmissionConfig,
)
from tests.config.reading import bad_cases
from tests.config.test_toml import read_back

_HERE = os.path.dirname(os.path.abspath(__file__))
_DATA = os.path.join(_HERE, "data", "cadent")
_CONF = os.path.join(os.path.dirname(os.path.dirname(_HERE)), "conf")
_SMALL = '[default]\n{default}\n[a]\nmsg_type = "statsd"\n{section}\n[[a.servers]]\nservers = {servers}\n'


def load(
    default: str = "", section: str = "", servers: str = '["tcp://h:1", "tcp://g:2"]', more: str = "", prereg: str = ""
) -> tuple[Config, Problems]:
    problems = Problems()
    text = _SMALL.format(default=default, section=section, servers=servers) + more
    return load_cadent(text, "c.toml", problems, ("p.toml", prereg) if prereg else None), problems


def good(*texts: str, **given: str) -> Config:
    config, problems = load(*texts, **given)
    assert problems.reports == [], [str(report) for report in problems.reports]
    assert read_back(config) == (config, [])
    return config


class ServersTests(SynchronousTestCase):
    def test_every_faulty_server_is_told(self) -> None:
        _, problems = load(servers='["xyz", "tcp://h:1", "tcp://:1"]')
        self.assertEqual(
            [text.partition(": ")[2].partition(" is none")[0] for text in problems.texts("error")],
            ["a.servers[0].servers: 'xyz'", "a.servers[0].servers: 'tcp://:1'"],
        )


class DefaultsTests(SynchronousTestCase):
    def test_a_section_with_nothing_but_servers(self) -> None:
        config = good()
        self.assertEqual(config.listeners, (Listener(protocol="line", interface="127.0.0.1", port=6000, to=("a",)),))
        (relay,) = config.relays
        self.assertEqual((relay.name, relay.lines), ("a", LineConfig(format="statsd", validate=False)))
        self.assertEqual(
            relay.groups,
            (
                GroupConfig(
                    name="0",
                    method="cadent",
                    members=("a/tcp://h:1", "a/tcp://g:2"),
                    hash="mmh3",
                    hash_keys=("tcp://h:1", "tcp://g:2"),
                ),
            ),
        )
        queue = QueueConfig(policy="block", resend_window_s=0.0, resend_window_bytes=0)
        self.assertEqual(
            config.destinations[0],
            DestinationConfig(
                name="a/tcp://h:1",
                host="h",
                port=1,
                connections=10,
                datagram_bytes=512,
                recycle_s=300.0,
                health=HealthConfig(interval_s=30.0),
                queue=queue,
            ),
        )
        self.assertEqual((config.program, config.processes.workers, config.accumulators), ("cadent", 1, ()))
        self.assertEqual((config.self_metrics.interval_s, config.limits.udp_receive_bytes), (0.0, 1 << 20))


class ListenTests(SynchronousTestCase):
    def test_every_scheme(self) -> None:
        for text, expected in {
            "tcp://1.2.3.4:5": Listener(protocol="line", interface="1.2.3.4", port=5, to=("a",)),
            "udp://[::1]:5": Listener(protocol="line", transport="udp", interface="::1", port=5, to=("a",)),
            "tcp://:5": Listener(protocol="line", interface="", port=5, to=("a",)),
            "unix:///run/x": Listener(protocol="line", transport="unix", path="/run/x", to=("a",)),
            "http://[::1]:5/in": Listener(
                protocol="line", transport="http", interface="::1", port=5, path="/in", to=("a",)
            ),
            "http://localhost:5": Listener(
                protocol="line", transport="http", interface="localhost", port=5, path="/", to=("a",)
            ),
        }.items():
            self.assertEqual(good(section=f'listen = "{text}"').listeners, (expected,))

    def test_a_name_of_this_machine_is_looked_up_when_it_listens(self) -> None:
        config, problems = load(section='listen = "tcp://h:5"')
        self.assertEqual((config.listeners[0].interface, problems.reports), ("h", []))

    def test_it_is_not_inherited(self) -> None:
        self.assertEqual(load('listen = "tcp://h:9"')[0].listeners[0].port, 6000)

    def test_a_section_may_be_fed_by_others_alone(self) -> None:
        more = '[b]\nlisten = "backend_only"\nmsg_type = "graphite"\n[[b.servers]]\nservers = ["tcp://h:1"]\n'
        config = good(more=more)
        self.assertEqual([relay.name for relay in config.relays], ["a", "b"])
        self.assertEqual(len(config.listeners), 1)
        self.assertEqual([found.name for found in config.destinations][2:], ["b/tcp://h:1"])


class LinesTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        self.assertEqual(good('msg_type = "graphite"').relays[0].lines.format, "statsd")
        text = '[default]\nmsg_type = "graphite"\n[a]\n[[a.servers]]\nservers = ["tcp://h:1"]\n'
        problems = Problems()
        config = load_cadent(text, "c", problems)
        self.assertEqual((config.relays[0].lines, problems.reports), (LineConfig(cleaning="cadent"), []))
        text = text.replace('"graphite"', "\"regex\"\nmsg_regex = '(?P<Key>[[:alpha:]]+)'\ntimeLayout = '15:04'")
        config = load_cadent(text, "c", problems)
        expected = LineConfig(format="regex", regex="(?a)(?P<Key>[A-Za-z]+)", time_layout="15:04")
        self.assertEqual((config.relays[0].lines, problems.reports), (expected, []))


class RingTests(SynchronousTestCase):
    def test_names_of_hashes_and_elters(self) -> None:
        for algorithm, elter, expected in (
            ("crc", "consistent", ("crc32", "simple")),
            ("graphite", "graphite", ("md5", "graphite")),
            ("statsd", "statsd", ("nodejs-hashring", "statsd")),
            ("fnv32a", "goconsistent", ("fnva", "simple")),
            ("fnv32", "simple", ("fnv", "simple")),
            ("mmh32", "simple", ("mmh3", "simple")),
            ("sha1", "simple", ("sha1", "simple")),
        ):
            group = good(f'hasher_algo = "{algorithm}"\nhasher_elter = "{elter}"').relays[0].groups[0]
            self.assertEqual((group.hash, group.elter), expected)

    def test_unknown_ones_are_what_cadent_takes_then(self) -> None:
        config, problems = load('hasher_algo = "best"\nhasher_elter = "sweet"')
        group = config.relays[0].groups[0]
        self.assertEqual((group.hash, group.elter), ("crc32", "graphite"))
        self.assertEqual([report.weight for report in problems.reports], ["warning", "warning"])

    def test_a_section_says_otherwise_than_the_default(self) -> None:
        config = good(
            'hasher_vnodes = 7\nnum_dupe_replicas = 2\nserver_down_policy = "remove_node"',
            'hasher_vnodes = 1\nserver_down_policy = "keep"',
        )
        group = config.relays[0].groups[0]
        self.assertEqual((group.vnodes, group.replication, group.down_policy), (1, 2, "keep"))
        group = good('server_down_policy = "remove_node"').relays[0].groups[0]
        self.assertEqual(group.down_policy, "remove_node")

    def test_points_on_the_ring_are_at_least_one_and_not_without_bound(self) -> None:
        config, problems = load("hasher_vnodes = -1")
        self.assertEqual(config.relays[0].groups[0].vnodes, 1)
        expected = ["c.toml:2: default.hasher_vnodes: less than 1: Cadent takes 1 then"]
        self.assertEqual(problems.texts("warning"), expected)
        _, problems = load("hasher_vnodes = 100001")
        expected = ["c.toml:2: default.hasher_vnodes: 100001 is out of range, 1 to 100000"]
        self.assertEqual(problems.texts("error"), expected)

    def test_words_that_cadent_takes_for_others_are_told(self) -> None:
        _, problems = load('sending_method = "buffered"\nserver_down_policy = "remove-node"\nnum_procs = 1000')
        known = "keep, ignore, fail_key, remove_node"
        self.assertEqual(problems.texts("warning"), [
            "c.toml:2: default.sending_method: 'buffered' is unknown: Cadent takes pool then",
            f"c.toml:3: default.server_down_policy: 'remove-node' is unknown and means keep; known are {known}",
            "c.toml:4: default.num_procs: 1000 is more than the 256 processes that there may be",
        ])  # fmt: skip
        for word in ("keep", "ignore", "fail_key"):
            self.assertEqual(good(f'server_down_policy = "{word}"').relays[0].groups[0].down_policy, "keep")

    def test_what_is_for_regular_expressions_alone_is_told(self) -> None:
        section = 'msg_regex = "(?P<Key>a)"\ntime_layout = "2006"'
        _, problems = load(section=section)
        self.assertEqual([text.partition(": ")[2] for text in problems.texts("notice")], [
            "a.msg_regex: has no effect: it is for msg_type = regex",
            "a.time_layout: has no effect: it is for msg_type = regex",
        ])  # fmt: skip
        self.assertEqual(load(section)[1].reports, [], "other sections may want it")

    def test_a_prefix_breaks_no_line(self) -> None:
        _, problems = load('statsd_server = "h:1"\nstatsd_prefix = "a\\nb"')
        self.assertEqual(
            problems.texts("error"), ["c.toml:3: default.statsd_prefix: 'a\\nb' would break lines in two"]
        )

    def test_copies_are_no_more_than_the_smallest_set_has(self) -> None:
        more = '[[a.servers]]\nservers = ["tcp://x:1"]\n'
        config, problems = load("num_dupe_replicas = 3", more=more)
        self.assertEqual([group.replication for group in config.relays[0].groups], [1, 1])
        self.assertEqual([report.weight for report in problems.reports], ["warning"])

    def test_keys_are_kept_as_they_are_and_servers_trimmed(self) -> None:
        config = good(servers='[" tcp://h:1", "", "tcp://g:2 "]')
        group = config.relays[0].groups[0]
        self.assertEqual(group.members, ("a/tcp://h:1", "a/tcp://g:2"))
        self.assertEqual(group.hash_keys, (" tcp://h:1", "tcp://g:2 "))
        config = good(servers='["tcp://h:1", "tcp://g:2"]\nhashkeys = [" one", "two"]')
        self.assertEqual(config.relays[0].groups[0].hash_keys, (" one", "two"))

    def test_sets_of_one_section_share_a_server(self) -> None:
        config = good(more='[[a.servers]]\nservers = ["tcp://h:1"]\n')
        self.assertEqual(len(config.destinations), 2)
        self.assertEqual(config.relays[0].groups[1].members, ("a/tcp://h:1",))


class ServerTests(SynchronousTestCase):
    def test_every_scheme(self) -> None:
        for url, expected in {
            "tcp://h:1": DestinationConfig(name="n", host="h", port=1),
            "udp://[::1]:1/": DestinationConfig(name="n", transport="udp", host="::1", port=1),
            "unix:///x": DestinationConfig(name="n", transport="unix", path="/x"),
            "http://h/x": DestinationConfig(name="n", transport="http", path="http://h/x"),
        }.items():
            self.assertEqual(destination_of("n", url), expected)
        for url in ("h:1", "tcp://h", "ftp://h:1", "unix://", "http://", "http://[", "",
                    "http://x y/", "http://h/\n", "tcp://\0:1", "unix:///a\0b"):  # fmt: skip
            self.assertIsNone(destination_of("n", url), url)

    def test_health_checks(self) -> None:
        servers = '["udp://h:1", "udp://g:1"]\ncheck_servers = ["tcp://h:2", "http://g:2/ok"]'
        config = good(
            "heartbeat_time_delay = 20\nheartbeat_time_timeout = 2.5\nfailed_heartbeat_count = 1", servers=servers
        )
        self.assertEqual([found.check for found in config.destinations], ["tcp://h:2", "http://g:2/ok"])
        expected = HealthConfig(interval_s=20.0, timeout_s=2.5, failures=1)
        self.assertEqual({found.health for found in config.destinations}, {expected})
        self.assertEqual(good(servers='["udp://h:1"]').destinations[0].check, "")
        self.assertEqual(good(servers='["http://h/x"]').destinations[0].check, "http://h/x")

    def test_sending(self) -> None:
        for method, expected in (("bufferedpool", 99), ("pool", 0)):
            text = f'sending_method = "{method}"\npool_buffersize = 99\nmax_pool_connections = 3'
            found = good(text, servers='["udp://h:1"]').destinations[0]
            self.assertEqual((found.datagram_bytes, found.connections, found.recycle_s), (expected, 3, inf))
        config, problems = load('sending_method = "anything"')
        self.assertEqual((config.destinations[0].datagram_bytes, len(problems.texts("warning"))), (0, 1))
        config, problems = load('sending_method = "single"')
        self.assertEqual((config.destinations[0].connections, len(problems.texts("notice"))), (1, 1))

    def test_queues(self) -> None:
        text = 'max_read_buffer_size = 1234567\nspool_dir = "/s"\nspool_max_bytes = 1073741824'
        config = good(text, 'spool_bytes = 70000\nqueue_policy = "drop_oldest"')
        self.assertEqual(config.destinations[0].queue.policy, "drop_oldest")
        queue = config.destinations[0].queue
        self.assertEqual((queue.max_bytes, queue.spool_bytes), (1234567, 70000))
        self.assertEqual((config.spool.directory, config.spool.max_bytes), ("/s", 1 << 30))


class ProcessTests(SynchronousTestCase):
    def test_every_key_of_the_default_alone(self) -> None:
        config = good(
            'stats_tick = true\npid_file = "/p"\nnum_procs = 4\nstatsd_server = "s:8125"\nstatsd_prefix = "x"\n'
            "statsd_interval = 5\nstatsd_sample_rate = 0.1\nstatsd_timer_sample_rate = 0.01\n"
            'internal_health_server_listen = ":6061"\ninternal_health_server_points = 500\n'
            'internal_health_server_path = "/html"\nread_buffer_size = 70000\n'
        )
        self.assertEqual((config.processes.pid_file, config.processes.workers), ("/p", 4))
        self.assertEqual(
            config.statsd_emission,
            StatsdEmissionConfig(server="s:8125", prefix="x", interval_s=5.0, sample_rate=0.1, timer_sample_rate=0.01),
        )
        self.assertEqual(config.ops, OpsConfig(history_points=500, page_directory="/html", log_stats_s=5.0))
        self.assertEqual(config.listeners[-1], Listener(protocol="ops", interface="", port=6061))
        self.assertEqual(config.limits.udp_receive_bytes, 70000)

    def test_keys_without_effect_are_named_with_the_reason(self) -> None:
        before = good()
        for key in ("cache_items", "out_workers", "workers", "write_timeout", "runner_timeout"):
            for place in ("default", "section"):
                config, problems = load(**{place: f"{key} = 7"})
                self.assertEqual((config, len(problems.reports)), (before, 1), key)
                self.assertIn(f"{key}: has no effect: ", problems.texts("notice")[0])
        for key, value in (("cpu_profile_rate", "5"), ("block_profile", "true")):
            config, problems = load(f"{key} = {value}")
            self.assertEqual((config, len(problems.texts("notice"))), (before, 1))

    def test_a_profile_is_had_from_the_status_pages(self) -> None:
        config, problems = load("cpu_profile = true")
        self.assertTrue(config.ops.debug)
        self.assertEqual([report.weight for report in problems.reports], ["notice"])


class FaultTests(SynchronousTestCase):
    def test_bad_files_tell_their_faults(self) -> None:
        cases = list(bad_cases(_DATA))
        self.assertTrue(cases)
        for name, text, expected in cases:
            main, _, prereg = text.partition("==== prereg\n")
            problems = Problems()
            load_cadent(main, name, problems, ("prereg", prereg) if prereg else None)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)

    @settings(max_examples=100, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 6000), st.integers(0, 40), st.sampled_from(["", *"=[]{}.\n'\"-1\\"])), max_size=4
        )
    )
    def test_a_damaged_text_loads_or_has_faults(self, edits: list[tuple[int, int, str]]) -> None:
        text = read_file(os.path.join(_CONF, "cadent.toml"))
        prereg = read_file(os.path.join(_CONF, "cadent-prereg.toml"))
        for at, length, new in edits:
            text = text[:at] + new + text[at + length :]
            prereg = prereg[: at // 4] + new + prereg[at // 4 + length :]
        load_cadent(text, "c", Problems(), ("p", prereg))


class PreRegTests(SynchronousTestCase):
    more = '[b]\nlisten = "backend_only"\nmsg_type = "statsd"\n[[b.servers]]\nservers = ["tcp://h:1"]\n'

    def test_filters(self) -> None:
        prereg = (
            '[x]\nlisten_server = "a"\ndefault_backend = "a"\n'
            "[[x.map]]\nregex = '^\\w'\nreject = true\n"
            '[[x.map]]\nprefix = "p"\nbackend = "b"\n'
            '[[x.map]]\nsubstring = "s"\nbackend = "a"\n'
            '[[x.map]]\nsubstring = "t"\n'
            '[[x.map]]\nnoop = "true"\nreject = true\nbackend = "b"\n'
        )
        relay = good(more=self.more, prereg=prereg).relays[0]
        self.assertEqual(
            relay.filters,
            (
                FilterRule(kind="regex", pattern=r"(?a)^\w", action="reject"),
                FilterRule(kind="prefix", pattern="p", action="redirect", relay="b"),
                FilterRule(kind="substring", pattern="s"),
                FilterRule(kind="substring", pattern="t"),
                FilterRule(kind="noop", action="redirect", relay="b"),
            ),
        )
        self.assertEqual(relay.default_relay, "")

    def test_another_default(self) -> None:
        prereg = '[x]\nlisten_server = "a"\ndefault_backend = "b"\n[[x.map]]\nprefix = "p"\n'
        relay = good(more=self.more, prereg=prereg).relays[0]
        self.assertEqual(relay.filters, (FilterRule(kind="prefix", pattern="p", action="redirect", relay="b"),))
        self.assertEqual(relay.default_relay, "b")

    def test_the_default_is_for_what_an_accumulator_makes(self) -> None:
        prereg = (
            '[x]\nlisten_server = "a"\ndefault_backend = "b"\n[x.accumulator]\nbackend = "b"\n'
            'input_format = "statsd"\noutput_format = "graphite"\n'
        )
        config, problems = load(more=self.more, prereg=prereg)
        text = "p.toml:7: x.accumulator.output_format: lines of 'b' are statsd: they will be refused"
        self.assertEqual([str(report) for report in problems.reports], [text])
        self.assertEqual(config.relays[0].default_relay, "b")
        found = [(each.name, each.relay, each.backend) for each in config.accumulators]
        self.assertEqual(found, [("x", "a", "b")])

    def test_one_process_has_all_that_is_added_up(self) -> None:
        prereg = (
            '[x]\nlisten_server = "a"\ndefault_backend = "b"\n[x.accumulator]\nbackend = "BLACKHOLE"\n'
            'input_format = "statsd"\noutput_format = "graphite"\n'
        )
        config, problems = load(default="num_procs = 4\n", more=self.more, prereg=prereg)
        self.assertEqual((config.processes.workers, len(problems.texts("notice"))), (1, 1))

    def test_the_last_of_two_before_one_section_counts(self) -> None:
        prereg = "".join(
            f'[{name}]\nlisten_server = "a"\ndefault_backend = "a"\n[[{name}.map]]\nprefix = "{name}"\n'
            for name in ("x", "y")
        )
        config, problems = load(prereg=prereg)
        self.assertEqual([rule.pattern for rule in config.relays[0].filters], ["y"])
        self.assertEqual([report.weight for report in problems.reports], ["warning"])
