"""Native TOML: what is accepted, and each fault with its line."""

from __future__ import annotations

import os
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.document import native_sample
from cadtwist.config.errors import Problems
from cadtwist.config.model import AggregateRule, CacheConfig, Config, Listener, RewriteRule, TlsConfig
from cadtwist.config.native import load_native
from tests.config.reading import bad_cases

_DATA = os.path.join(os.path.dirname(__file__), "data", "native")


def _load(text: str, files: dict[str, str] | None = None) -> tuple[Config, Problems]:
    problems = Problems()

    def read(path: str) -> str:
        try:
            return (files or {})[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    return load_native(text, "conf/x.toml", read, problems), problems


NOWHERE = "there is neither [cache] nor [[relays]] nor [istat]: datapoints are received and kept nowhere"


class LoadNativeTests(SynchronousTestCase):
    def test_an_empty_text_is_all_defaults(self) -> None:
        config, problems = _load("")
        self.assertEqual(config, Config())
        self.assertEqual(
            [str(report) for report in problems.reports],
            [f"conf/x.toml: cache: {NOWHERE}"],
        )

    def test_reads_groups_lists_and_whole_numbers_as_numbers(self) -> None:
        config, problems = _load(
            """
            [cache]
            max_points = 1000
            [writer]
            max_updates_per_second = inf
            [[listeners]]
            protocol = "line"
            interface = "::1"
            port = 2003
            tls = { certificate = "a.pem" }
            """
        )
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.cache, CacheConfig(max_points=1000.0))
        self.assertEqual(config.writer.max_updates_per_second, inf)
        tls = TlsConfig(certificate="a.pem")
        self.assertEqual(config.listeners, (Listener(protocol="line", interface="::1", port=2003, tls=tls),))
        self.assertEqual(config.listeners[0].address, "tcp:[::1]:2003")

    def test_pages_for_operators_are_private_unless_told_otherwise(self) -> None:
        text = """
            [cache]
            [[listeners]]
            protocol = "ops"
            port = 6061
            [[listeners]]
            protocol = "ops"
            port = 6062
            interface = "0.0.0.0"
            [[listeners]]
            protocol = "ops"
            transport = "unix"
            path = "/run/ops"
            [[listeners]]
            protocol = "line"
            port = 2003
            """
        doors = _load(text)[0].listeners
        self.assertEqual([door.interface for door in doors], ["127.0.0.1", "0.0.0.0", "0.0.0.0", "0.0.0.0"])

    def test_doors_at_which_nobody_would_answer(self) -> None:
        """They would not be opened, or swallow what comes."""
        needed = {"cachequery": "[cache]", "ops": "[[relays]]", "proxyadmin": "[[relays]]"}
        needed.update(dict.fromkeys(("line", "pickle", "protobuf"), "[cache] or [[relays]]"))
        for protocol, what in needed.items():
            door = f'[istat]\nstore = "s"\n[[listeners]]\nprotocol = "{protocol}"\nport = 1\n'
            fault = f"conf/x.toml:3: listeners[0]: a listener of protocol {protocol} needs {what}"
            self.assertEqual(list(map(str, _load(door)[1].reports)), [fault])
        http = '[istat]\nstore = "s"\n[[listeners]]\nprotocol = "http"\nport = 1\n'
        self.assertEqual(_load(http)[1].reports, [])

    def test_the_instance_is_that_of_the_text_else_the_given(self) -> None:
        problems = Problems()
        self.assertEqual(load_native('instance = "x"', "", str, problems, "b").instance, "x")
        self.assertEqual(load_native("", "", str, problems, "b").instance, "b")

    def test_rule_files_come_behind_the_rules_of_the_text(self) -> None:
        files = {
            "conf/s.conf": "[late]\npattern = b\nretentions = 60:60\n",
            "conf/a.conf": "[sum]\npattern = c\naggregationMethod = sum\n",
            "conf/black": "^x\n",
            "/etc/white": "^y\n",
        }
        text = """
        files = { schemas = "s.conf", aggregation = "a.conf", blacklist = "black", whitelist = "/etc/white" }
        [[schemas]]
        name = "early"
        pattern = "a"
        retentions = "1s:1m"
        [cache]
        [stages]
        blacklist = ["^w"]
        """
        config, problems = _load(text, files)
        self.assertEqual(problems.reports, [])
        self.assertEqual([rule.name for rule in config.schemas], ["early", "late"])
        self.assertEqual([(rule.xff, rule.method) for rule in config.aggregation], [(None, "sum")])
        self.assertEqual((config.stages.blacklist, config.stages.whitelist), (("^w", "^x"), ("^y",)))

    def test_rule_files_of_relays(self) -> None:
        files = {"conf/r": "[pre]\nb = c\n[post]\nd = e\n", "conf/a": "x (1) = sum y\n"}
        text = """
        files = { rewrite = "r", aggregate = "a" }
        cache = {}
        [[stages.rewrite]]
        pattern = "a"
        [[aggregate_rules]]
        output = "o"
        frequency = 5
        method = "max"
        pattern = "i"
        """
        config, problems = _load(text, files)
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.stages.rewrite, (RewriteRule("a", ""), RewriteRule("b", "c")))
        self.assertEqual(config.stages.post_rewrite, (RewriteRule("d", "e"),))
        self.assertEqual(config.aggregate_rules, (AggregateRule("o", 5, "max", "i"), AggregateRule("x", 1, "sum", "y")))

    def test_a_missing_rule_file_is_an_error_at_its_key(self) -> None:
        _, problems = _load('[cache]\n[files]\nschemas = "none.conf"\n')
        self.assertEqual(
            problems.texts("error"), ["conf/x.toml:3: files.schemas: conf/none.conf cannot be read: conf/none.conf"]
        )

    def test_a_text_has_no_zero_byte(self) -> None:
        _, problems = _load('[cache]\n[stages]\nblacklist = ["a", "b\\u0000"]\n[wal]\ndirectory = "\\u0000"\n')
        self.assertEqual(problems.texts("error"), [
            "conf/x.toml:3: stages.blacklist: 'b\\x00' has a zero byte",
            "conf/x.toml:5: wal.directory: '\\x00' has a zero byte",
        ])  # fmt: skip

    def test_bad_files_tell_their_faults(self) -> None:
        for name, text, expected in bad_cases(_DATA):
            problems = Problems()
            load_native(text, name, str, problems)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)

    @settings(max_examples=80, deadline=None, database=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 9000), st.integers(0, 40), st.sampled_from(["", *"=[]{}.\n'\"-1\\"])), max_size=4
        )
    )
    def test_a_damaged_text_loads_or_has_faults_with_lines(self, edits: list[tuple[int, int, str]]) -> None:
        text = native_sample()
        for at, length, new in edits:
            text = text[:at] + new + text[at + length :]
        _, problems = _load(text)
        for report in problems.reports:
            self.assertTrue(report.line or report.option in ("", "cache"), str(report))

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.recursive(st.sampled_from([1, 1.5, True, "x", -7]), lambda inner: st.lists(inner, max_size=2)))
    def test_a_value_of_another_type_is_a_fault_and_never_an_exception(self, value: object) -> None:
        shown = str(value).lower().replace("'", '"')
        text = "\n".join(
            f"{key} = {shown}" for key in ("program", "cache", "listeners", "wal.sync_s", "schemas", "files", "log")
        )
        _, problems = _load(text)
        self.assertTrue(problems.failed)
