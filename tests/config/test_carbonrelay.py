"""carbon.conf's sections of relays and aggregators, and their rule files."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.carbon import CarbonSource, load_carbon, programs_of
from cadtwist.config.carbonoptions import CARBON_OPTIONS
from cadtwist.config.carbonrow import LETTERS, CarbonOption
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import (
    ClientTlsConfig,
    DestinationConfig,
    GroupConfig,
    QueueConfig,
    RelayConfig,
    RouteRule,
)
from cadtwist.model.aggregationrules import AggregateRule
from cadtwist.model.rules import RewriteRule
from tests.config.reading import bad_cases
from tests.config.test_toml import read_back

_DATA = os.path.join(os.path.dirname(__file__), "data", "carbon")
_FILES = {
    "/c/relay-rules.conf": "[default]\ndefault = true\ndestinations = h:1\n",
    "/c/aggregation-rules.conf": "sum.<a> (10) = sum x.<a>.*\n",
    "/c/rewrite-rules.conf": "[pre]\na = b\n[post]\nc =\n",
    "/c/storage-schemas.conf": "",
}


def load(
    text: str, files: dict[str, str] | None = None, program: str = "carbon-relay", **given: Any
) -> tuple[Config, Problems]:
    problems = Problems()
    known = _FILES if files is None else files

    def read(path: str) -> str:
        if path not in known:
            raise FileNotFoundError(path)
        return known[path]

    source = CarbonSource(path="/c/carbon.conf", environ={"GRAPHITE_ROOT": "/r"}, program=program, **given)
    return load_carbon(text, source, read, problems), problems


def _group(text: str, **given: Any) -> GroupConfig:
    config, problems = load(text, **given)
    assert problems.reports == [], problems.reports
    ((group,),) = (relay.groups for relay in config.relays)
    return group


class DefaultsTests(SynchronousTestCase):
    def test_a_relay_with_one_destination(self) -> None:
        config, problems = load("[relay]\nDESTINATIONS = h:1\n")
        self.assertEqual(problems.reports, [])
        self.assertEqual((config.program, config.cache, config.aggregator), ("carbon-relay", None, None))
        self.assertEqual(
            config.listeners, (Listener(protocol="line", port=2003), Listener(protocol="pickle", port=2004))
        )
        rule = RouteRule(name="default", destinations=("h:1",))
        group = GroupConfig(name="rules", method="rules", members=("h:1",), rules=(rule,))
        self.assertEqual(config.relays, (RelayConfig(groups=(group,)),))
        queue = QueueConfig(max_points=10_000, policy="block", spool_bytes=1 << 30)
        expected = DestinationConfig(name="h:1", host="h", port=1, protocol="pickle", queue=queue)
        self.assertEqual(config.destinations, (expected,))
        self.assertEqual(config.spool.directory, "/r/storage/spool/carbon-relay-a")
        self.assertEqual(config.log.directory, "/r/storage/log/carbon-relay/carbon-relay-a")
        self.assertFalse(config.stages.normalise_tags)
        self.assertEqual(config.stages.rewrite, ())
        self.assertEqual(read_back(config), (config, []))

    def test_an_aggregator_places_by_consistent_hashing_and_reads_its_rules(self) -> None:
        config, problems = load("[aggregator]\nDESTINATIONS = h:1\n", program="carbon-aggregator")
        self.assertEqual(problems.reports, [])
        self.assertEqual((config.cache, config.aggregator), (None, AggregatorConfig()))
        self.assertEqual(config.relays[0].groups[0].method, "carbon")
        self.assertEqual(config.aggregate_rules, (AggregateRule("sum.<a>", 10, "sum", "x.<a>.*"),))
        self.assertEqual(config.stages.rewrite, (RewriteRule("a", "b"),))
        self.assertEqual(config.stages.post_rewrite, (RewriteRule("c", ""),))
        self.assertEqual(read_back(config), (config, []))

    def test_an_aggregator_is_one_process(self) -> None:
        text = "[aggregator]\nDESTINATIONS = h:1\nWORKERS = 2\n"
        config, problems = load(text, program="carbon-aggregator")
        self.assertEqual((config.processes.workers, problems.texts("error")), (1, []))
        self.assertIn("/c/carbon.conf:3: WORKERS: ", problems.texts("notice")[0])

    def test_an_aggregator_cache_keeps_what_it_makes(self) -> None:
        text = "[aggregator-cache]\nFORWARD_ALL = False\nWRITE_BACK_FREQUENCY = 5\nMAX_CACHE_SIZE = 9\n"
        config, problems = load(text, program="carbon-aggregator-cache")
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.aggregator, AggregatorConfig(forward_all=False, write_back_s=5.0))
        assert config.cache is not None
        self.assertEqual((config.cache.max_points, config.relays), (9, ()))
        self.assertEqual(len(config.aggregate_rules), 1)
        self.assertTrue(config.stages.normalise_tags)
        self.assertEqual([listener.protocol for listener in config.listeners], ["line", "pickle", "cachequery"])
        self.assertEqual(read_back(config), (config, []))

    def test_a_relay_needs_no_schemas_and_answers_status_pages_over_http(self) -> None:
        files = {"/c/relay-rules.conf": _FILES["/c/relay-rules.conf"]}
        config, problems = load("[relay]\nDESTINATIONS = h:1\nHTTP_PORT = 80\n", files)
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.listeners[-1].protocol, "ops")

    def test_rules_that_are_empty_or_missing(self) -> None:
        for files, text in (
            ({"/c/relay-rules.conf": "\n"}, "one section with `default = true` is needed"),
            ({"/c/relay-rules.conf": ""}, "one section with `default = true` is needed"),
            ({}, "this file is required and does not exist"),
        ):
            _, problems = load("[relay]\nDESTINATIONS = h:1\n", files)
            self.assertEqual(problems.texts("error"), [f"/c/relay-rules.conf: {text}"])

    def test_programs_of_a_text(self) -> None:
        text = "[relay:b]\n[cache]\n[x]\n[aggregator-cache]\n"
        self.assertEqual(programs_of(text), ("carbon-cache", "carbon-relay", "carbon-aggregator-cache"))


class MethodTests(SynchronousTestCase):
    def test_every_method(self) -> None:
        for name, expected in {
            "constant": ("constant", False),
            "consistent-hashing": ("carbon", False),
            "aggregated-consistent-hashing": ("carbon", True),
            "fast-hashing": ("carbon_fast", False),
            "fast-aggregated-hashing": ("carbon_fast", True),
        }.items():
            group = _group(f"[relay]\nDESTINATIONS = h:1:a, [::1]:2:b\nRELAY_METHOD = {name}\n")
            self.assertEqual((group.method, group.aggregated), expected)
            self.assertEqual(group.members, ("h:1:a", "[::1]:2:b"))

    def test_aggregated_hashing_reads_the_rules_of_aggregation(self) -> None:
        text = "[relay]\nDESTINATIONS = h:1\nRELAY_METHOD = aggregated-consistent-hashing\n"
        config, _ = load(text)
        self.assertEqual(len(config.aggregate_rules), 1)
        config, problems = load(text, {})
        self.assertEqual((config.aggregate_rules, problems.reports), ((), []))

    def test_rings(self) -> None:
        group = _group(
            "[relay]\nDESTINATIONS = h:1:b, h:1:a, h:1:b\nRELAY_METHOD = consistent-hashing\n"
            "ROUTER_HASH_TYPE = mmh3_ch\nREPLICATION_FACTOR = 2\n"
            "DIVERSE_REPLICAS = False\nDYNAMIC_ROUTER = yes\nDYNAMIC_ROUTER_MAX_RETRIES = 7\n"
            "DESTINATION_POOL_REPLICAS = True\n"
        )
        self.assertEqual(group.members, ("h:1:b", "h:1:a"))
        self.assertEqual((group.hash, group.replication, group.diverse_replicas), ("mmh3_ch", 2, False))
        self.assertEqual((group.dynamic, group.dynamic_max_retries, group.pool_replicas), (True, 7, True))

    def test_a_hash_counts_for_hashing_only(self) -> None:
        for method in ("rules", "constant"):
            group = _group(f"[relay]\nDESTINATIONS = h:1\nROUTER_HASH_TYPE = fnv1a_ch\nRELAY_METHOD = {method}\n")
            self.assertEqual(group.hash, "")

    def test_a_hash_called_none(self) -> None:
        for method, text, wanted in (
            ("fast-hashing", "None", "carbon_ch"), ("fast-hashing", "", ""),
            ("consistent-hashing", "none", "carbon_ch"), ("rules", "None", ""),
        ):  # fmt: skip
            group = _group(f"[relay]\nDESTINATIONS = h: 1\nROUTER_HASH_TYPE = {text}\nRELAY_METHOD = {method}\n")
            self.assertEqual((group.hash, group.members), (wanted, ("h:1",)))

    def test_rules_of_the_command_line_come_first(self) -> None:
        files = {"mine": "[all]\ndefault = yes\ndestinations = h:1\n"}
        self.assertEqual(_group("[relay]\nDESTINATIONS = h:1\n", files=files, rules="mine").rules[0].name, "all")
        config, problems = load(
            "[aggregator]\nDESTINATIONS = h:1\nAGGREGATION_RULES = other\n",
            {"/mine": "a (1) = sum b\n"},
            "carbon-aggregator",
            rules="/mine",
        )
        self.assertEqual((len(config.aggregate_rules), problems.reports), (1, []))

    def test_a_relay_rewrites_where_it_is_told_to(self) -> None:
        config, _ = load("[relay]\nDESTINATIONS = h:1\nREWRITE_RULES = rewrite-rules.conf\n")
        self.assertEqual(len(config.stages.rewrite), 1)


class DestinationTests(SynchronousTestCase):
    def test_protocols(self) -> None:
        for name, crlf in (("line", True), ("pickle", False), ("protobuf", False)):
            config, _ = load(f"[relay]\nDESTINATIONS = h:1\nDESTINATION_PROTOCOL = {name}\n")
            self.assertEqual((config.destinations[0].protocol, config.destinations[0].crlf), (name, crlf))

    def test_policies(self) -> None:
        for text, policy in (
            ("USE_FLOW_CONTROL = True", "block"),
            ("USE_FLOW_CONTROL = False", "drop_new"),
            ("QUEUE_POLICY = drop_oldest", "drop_oldest"),
        ):
            config, _ = load(f"[relay]\nDESTINATIONS = h:1\n{text}\n")
            self.assertEqual(config.destinations[0].queue.policy, policy)

    def test_the_place_of_the_resend_window(self) -> None:
        for text, place in (("", "file"), ("RESEND_WINDOW_IN = memory", "memory")):
            config, _ = load(f"[relay]\nDESTINATIONS = h:1\n{text}\n")
            self.assertEqual(config.destinations[0].queue.resend_window_in, place)
        _, problems = load("[relay]\nDESTINATIONS = h:1\nRESEND_WINDOW_IN = disk\n")
        self.assertEqual(
            [text for text in problems.texts("error") if "RESEND" in text],
            ["/c/carbon.conf:3: RESEND_WINDOW_IN: 'disk' is unknown; known are file, memory"],
        )

    def test_tls(self) -> None:
        text = "[relay]\nDESTINATIONS = h:1\nDESTINATION_SSL_CA = /ca\nDESTINATION_TLS_CERTIFICATE = /c.pem\n"
        config, problems = load(f"{text}DESTINATION_TRANSPORT = ssl\n")
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.destinations[0].tls, ClientTlsConfig(authority="/ca", certificate="/c.pem"))
        config, problems = load(text)
        self.assertIsNone(config.destinations[0].tls)
        self.assertEqual(len(problems.texts("warning")), 2)


class EveryOptionTests(SynchronousTestCase):
    """Each row of the table, in each section: it changes its value, or says why it does not."""

    def _text(self, row: CarbonOption) -> str:
        if row.kind == "bool":
            return "True"
        values = {
            "ROUTER_HASH_TYPE": "fnv1a_ch",
            "MIN_RESET_RATIO": "0.5",
            "QUEUE_LOW_WATERMARK_PCT": "0.5",
            "METRIC_NAMES_IDLE": "99",
            "RESEND_WINDOW_IN": "memory",
        }
        if row.kind == "int":
            return "134217728" if row.name.endswith("_BYTES") else "70000" if row.name.endswith("_LENGTH") else "9"
        return values.get(row.name, {"float": "11", "text": "words", "path": "/p"}.get(row.kind, "h:1"))

    def test_rows_with_a_target_set_it(self) -> None:
        for program, letter in LETTERS.items():
            head = f"[{program.removeprefix('carbon-')}]\nDESTINATIONS = h:1\nDESTINATION_TRANSPORT = ssl\n"
            if letter in "CB":
                continue
            head += "RELAY_METHOD = fast-hashing\n" if letter == "R" else ""
            before, problems = load(head, program=program)
            self.assertEqual(problems.reports, [])
            for row in CARBON_OPTIONS.values():
                if letter not in row.users or not row.target:
                    continue
                text = "False" if _at(before, row.target) is True else self._text(row)
                config, problems = load(f"{head}{row.name} = {text}\n", program=program)
                self.assertEqual(problems.reports, [], row.name)
                self.assertNotEqual(_at(config, row.target), _at(before, row.target), row.name)

    def test_rows_of_caches_have_no_effect_here(self) -> None:
        before, _ = load("[relay]\nDESTINATIONS = h:1\n")
        for row in CARBON_OPTIONS.values():
            if "R" not in row.users and not row.reason:
                config, problems = load(f"[relay]\nDESTINATIONS = h:1\n{row.name} = 1\n")
                self.assertEqual((config, problems.texts("error")), (before, []), row.name)
                self.assertEqual(len(problems.texts("notice")), 1, row.name)


def _at(config: Any, path: str) -> Any:
    """Return the value at `path`, in the first entry of lists."""
    for part in path.split("."):
        config = getattr(config[0] if isinstance(config, tuple) else config, part)
    return config


class FaultTests(SynchronousTestCase):
    def test_bad_files_tell_their_faults(self) -> None:
        cases = list(bad_cases(os.path.join(_DATA, "relay")))
        self.assertTrue(cases)
        for name, text, expected in cases:
            problems = Problems()
            parts = dict(part.split("\n", 1) for part in text.split("==== ") if part)

            def read(path: str, parts: dict[str, str] = parts) -> str:
                if path not in parts:
                    raise FileNotFoundError(path)
                return parts[path]

            program = next(program for program in LETTERS if name.startswith(program.removeprefix("carbon-")))
            source = CarbonSource(path="carbon.conf", environ={"GRAPHITE_ROOT": "/r"}, program=program)
            load_carbon(parts["carbon.conf"], source, read, problems)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)
