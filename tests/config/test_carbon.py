"""carbon.conf into a Config: every option, every folder, every fault with its line."""

from __future__ import annotations

import os
from math import inf
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.assemble import value_at
from cadtwist.config.carbon import CarbonSource, default_paths, load_carbon
from cadtwist.config.carbonoptions import CARBON_OPTIONS
from cadtwist.config.errors import Problems
from cadtwist.config.model import CacheConfig, Config, Listener, StorageConfig, TlsConfig
from tests.config.reading import bad_cases
from tests.config.test_toml import read_back

_DATA = os.path.join(os.path.dirname(__file__), "data", "carbon")
_SCHEMAS = "[carbon]\npattern = ^carbon\\.\nretentions = 60:90d\n"
_ROOT = {"GRAPHITE_ROOT": "/opt/graphite"}


def load(
    text: str, files: dict[str, str] | None = None, environ: dict[str, str] | None = None, **given: Any
) -> tuple[Config, Problems]:
    problems = Problems()
    known = {"/c/storage-schemas.conf": _SCHEMAS} if files is None else files

    def read(path: str) -> str:
        if path not in known:
            raise FileNotFoundError(path)
        return known[path]

    source = CarbonSource(path="/c/carbon.conf", environ=_ROOT if environ is None else environ, **given)
    return load_carbon(text, source, read, problems), problems


class DefaultsTests(SynchronousTestCase):
    def test_an_empty_section_is_carbons_cache(self) -> None:
        config, problems = load("[cache]\n")
        self.assertEqual(problems.reports, [])
        self.assertEqual((config.program, config.instance), ("carbon-cache", "a"))
        self.assertEqual(
            config.listeners,
            (
                Listener(protocol="line", port=2003),
                Listener(protocol="pickle", port=2004),
                Listener(protocol="cachequery", port=7002),
            ),
        )
        self.assertEqual(config.cache, CacheConfig())
        self.assertEqual(config.storage, StorageConfig(root="/opt/graphite/storage/whisper"))
        self.assertEqual(config.log.directory, "/opt/graphite/storage/log/carbon-cache/carbon-cache-a")
        self.assertEqual(config.wal.directory, "/opt/graphite/storage/wal/carbon-cache-a")
        self.assertEqual(config.pid_directory, "/opt/graphite/storage")
        self.assertEqual([rule.name for rule in config.schemas], ["carbon"])
        self.assertEqual(config.writer.max_updates_per_second, 500)
        self.assertEqual(config.writer.max_creates_per_minute, inf)
        self.assertTrue(config.wal.enabled)

    def test_a_missing_section_is_told(self) -> None:
        _, problems = load("[relay]\nDESTINATIONS = x\n[cahce]\n")
        self.assertEqual(
            problems.texts("warning"),
            [
                "/c/carbon.conf: there is no section [cache]: everything has its default",
                (
                    "/c/carbon.conf:3: [cahce]: unknown section, not used "
                    "(known are cache, relay, aggregator, aggregator-cache and their instances)"
                ),
            ],
        )


class InstanceTests(SynchronousTestCase):
    text = "[cache]\nLINE_RECEIVER_PORT = 1\nMAX_CACHE_SIZE = 9\n[cache:b]\nline_receiver_port = 2\n[cache:c]\nx = 1\n"

    def test_the_section_of_the_instance_is_laid_over(self) -> None:
        config, problems = load(self.text, instance="b")
        self.assertEqual(problems.reports, [])
        self.assertEqual((config.instance, config.listeners[0].port), ("b", 2))
        assert config.cache is not None
        self.assertEqual(config.cache.max_points, 9)
        self.assertTrue(config.log.directory.endswith("/carbon-cache-b"))

    def test_others_do_not_count(self) -> None:
        config, _ = load(self.text)
        self.assertEqual(config.listeners[0].port, 1)


class FolderTests(SynchronousTestCase):
    def test_options_win_over_the_environment(self) -> None:
        text = "[cache]\nSTORAGE_DIR = ~/s/\nLOG_DIR = /l\nPID_DIR = /p/../q\nLOCAL_DATA_DIR = /d\nWAL_DIR = /w\n"
        environ = {"GRAPHITE_STORAGE_DIR": "/no", "HOME": "/home/u"}
        config, problems = load(text, environ=environ)
        self.assertEqual(problems.reports, [])
        found = (config.log.directory, config.pid_directory, config.storage.root, config.wal.directory)
        self.assertEqual(found, ("/l/carbon-cache-a", "/q", "/d", "/w"))

    def test_the_environment_gives_the_storage_folder(self) -> None:
        config, _ = load("[cache]\n", environ={"GRAPHITE_STORAGE_DIR": "/s", "GRAPHITE_ROOT": "/r"})
        self.assertEqual(config.storage.root, "/s/whisper")

    def test_the_data_folder_tells_its_parent(self) -> None:
        config, problems = load("[cache]\nLOCAL_DATA_DIR = /s/whisper\n", environ={})
        self.assertEqual(problems.reports, [])
        self.assertEqual(config.wal.directory, "/s/wal/carbon-cache-a")

    def test_without_any_there_is_one_error(self) -> None:
        _, problems = load("[cache]\n", environ={})
        self.assertEqual(
            problems.texts("error"),
            [
                (
                    "/c/carbon.conf: STORAGE_DIR: is needed: set it, LOCAL_DATA_DIR, "
                    "or GRAPHITE_STORAGE_DIR or GRAPHITE_ROOT in the environment"
                )
            ],
        )

    def test_logdir_of_the_command_line_is_used_as_it_is(self) -> None:
        config, _ = load("[cache]\nLOG_DIR = /l\n", logdir="/here")
        self.assertEqual(config.log.directory, "/here")

    def test_default_paths(self) -> None:
        environ = {"GRAPHITE_CONF_DIR": "/e", "GRAPHITE_ROOT": "/r"}
        self.assertEqual(default_paths(environ), ["/e/carbon.conf", "/r/conf/carbon.conf"])
        self.assertEqual(default_paths({}), [])


class ListenerTests(SynchronousTestCase):
    def test_port_zero_disables(self) -> None:
        config, _ = load("[cache]\nLINE_RECEIVER_PORT=0\nPICKLE_RECEIVER_PORT=0\nCACHE_QUERY_PORT=0\n")
        self.assertEqual(config.listeners, ())

    def test_udp_needs_its_switch(self) -> None:
        config, _ = load("[cache]\nUDP_RECEIVER_PORT = 5\n")
        self.assertNotIn("udp", [listener.transport for listener in config.listeners])
        config, _ = load("[cache]\nUDP_RECEIVER_PORT = 5\nENABLE_UDP_LISTENER = yes\n")
        self.assertIn(Listener(protocol="line", transport="udp", port=5), config.listeners)

    def test_protobuf_and_http_need_their_port(self) -> None:
        config, _ = load("[cache]\nPROTOBUF_RECEIVER_INTERFACE = ::1\nHTTP_INTERFACE = 127.0.0.1\n")
        self.assertEqual(config.listeners_of("protobuf") + config.listeners_of("http"), ())
        config, _ = load("[cache]\nPROTOBUF_RECEIVER_INTERFACE=::1\nPROTOBUF_RECEIVER_PORT=2005\nHTTP_PORT=8080\n")
        self.assertEqual(config.listeners_of("protobuf"), (Listener(protocol="protobuf", interface="::1", port=2005),))
        self.assertEqual(config.listeners_of("http"), (Listener(protocol="http", port=8080),))

    def test_our_additions(self) -> None:
        text = """[cache]
        LINE_RECEIVER_TLS_CERTIFICATE = /a.pem
        LINE_RECEIVER_TLS_CLIENT_AUTHORITY = /b.pem
        LINE_RECEIVER_PROXY_PROTOCOL = on
        LINE_RECEIVER_ENDPOINT = systemd:domain=INET:index=0
        UNIX_RECEIVER_PATH = /run/line.sock
        """.replace("        ", "")
        config, problems = load(text)
        self.assertEqual(problems.reports, [])
        tls = TlsConfig(certificate="/a.pem", client_authority="/b.pem")
        self.assertEqual(
            config.listeners_of("line"),
            (
                Listener(protocol="line", port=2003, tls=tls, proxy_protocol=True),
                Listener(
                    protocol="line",
                    transport="endpoint",
                    endpoint="systemd:domain=INET:index=0",
                    tls=tls,
                    proxy_protocol=True,
                ),
                Listener(protocol="line", transport="unix", path="/run/line.sock"),
            ),
        )

    def test_a_key_without_certificate_is_an_error(self) -> None:
        _, problems = load("[cache]\nHTTP_TLS_KEY = /k\n")
        self.assertEqual(problems.texts("error"), ["/c/carbon.conf:2: HTTP_TLS_KEY: needs HTTP_TLS_CERTIFICATE"])

    def test_one_port_for_two_protocols_is_an_error(self) -> None:
        _, problems = load("[cache]\nPICKLE_RECEIVER_PORT = 2003\n")
        self.assertIn("taken twice, for line and for pickle", problems.texts("error")[0])


class ListTests(SynchronousTestCase):
    files = {
        "/c/storage-schemas.conf": _SCHEMAS,
        "/c/whitelist.conf": "^a\n",
        "/c/blacklist.conf": "(\n^b\n",
        "/x/white": "^x\n",
    }

    def test_only_with_use_whitelist(self) -> None:
        config, problems = load("[cache]\n", self.files, whitelist="/x/white")
        self.assertEqual((config.stages.whitelist, config.stages.blacklist), ((), ()))
        self.assertIn("USE_WHITELIST: is off", problems.texts("warning")[0])

    def test_read_from_the_folder_of_rules(self) -> None:
        config, problems = load("[cache]\nUSE_WHITELIST = True\n", self.files)
        self.assertEqual((config.stages.whitelist, config.stages.blacklist), (("^a",), ("^b",)))
        self.assertEqual((len(problems.texts("warning")), problems.failed), (1, False))

    def test_or_from_the_command_line(self) -> None:
        config, _ = load("[cache]\nUSE_WHITELIST = True\n", self.files, whitelist="/x/white")
        self.assertEqual(config.stages.whitelist, ("^x",))

    def test_a_missing_list_is_empty(self) -> None:
        config, problems = load("[cache]\nUSE_WHITELIST = True\n")
        self.assertEqual((config.stages.whitelist, problems.reports), ((), []))


class SchemaFileTests(SynchronousTestCase):
    def test_schemas_are_required(self) -> None:
        _, problems = load("[cache]\n", {})
        self.assertEqual(problems.texts("error"), ["/c/storage-schemas.conf: this file is required and does not exist"])

    def test_conf_dir_moves_them(self) -> None:
        config, problems = load("[cache]\nCONF_DIR = /else\n", {"/else/storage-schemas.conf": _SCHEMAS})
        self.assertEqual((len(config.schemas), problems.reports), (1, []))

    def test_an_unreadable_file_is_an_error(self) -> None:
        problems = Problems()

        def read(path: str) -> str:
            raise PermissionError(f"no entry to {path}")

        load_carbon("[cache]\n", CarbonSource(path="/c/carbon.conf", environ=_ROOT), read, problems)
        self.assertEqual(len(problems.texts("error")), 2)


class EveryOptionTests(SynchronousTestCase):
    """Each row of the table does what it says."""

    samples = {
        "bool": "True",
        "int": "99",
        "float": "99.5",
        "text": "http://words",
        "path": "/some/where",
        "list": "a, b",
    }
    special = {
        "CACHE_WRITE_STRATEGY": "max",
        "DATABASE": "ceres",
        "CERES_NODE_CACHING_BEHAVIOR": "None",
        "CERES_SLICE_CACHING_BEHAVIOR": "all",
        "TCP_KEEPCNT": "9",
        "HTTP_USERS": "a:b, c:d",
        "TAGDB": "redis://h/1",
    }

    def _sample(self, name: str) -> str:
        row = CARBON_OPTIONS[name]
        if row.kind == "int" and name.endswith(("_BYTES", "_MAX_LENGTH")):
            return "1000000000" if name == "WAL_MAX_BYTES" else "1000000"
        if name in ("WRITER_THREADS", "HTTP_WORKERS"):
            return "3"
        return self.special.get(name, self.samples[row.kind])

    def test_rows_with_a_target_set_it(self) -> None:
        default, _ = load("[cache]\n")
        for name, row in CARBON_OPTIONS.items():
            if not row.target or "C" not in row.users or name in ("PID_DIR", "LOCAL_DATA_DIR"):
                continue
            before = value_at(default, row.target)
            text = ("False" if before is True else "True") if row.kind == "bool" else self._sample(name)
            config, problems = load(f"[cache]\n{name} = {text}\n")
            self.assertEqual(problems.reports, [], name)
            self.assertNotEqual(value_at(config, row.target), before, name)

    def test_rows_without_effect_are_named_with_the_reason(self) -> None:
        default, _ = load("[cache]\n")
        for name, row in CARBON_OPTIONS.items():
            if row.reason:
                config, problems = load(f"[cache]\n{name} = {self._sample(name)}\n")
                expected = [f"/c/carbon.conf:2: {name}: has no effect: {row.reason}"]
                self.assertEqual((config, problems.texts("notice")), (default, expected))
                self.assertEqual(len(problems.reports), 1)

    def test_rows_of_other_programs_are_named_with_whose_they_are(self) -> None:
        default, _ = load("[cache]\n")
        for name, row in CARBON_OPTIONS.items():
            if not row.reason and "C" not in row.users:
                config, problems = load(f"[cache]\n{name} = 1\n")
                self.assertEqual((config, problems.texts("error"), problems.texts("warning")), (default, [], []))
                self.assertIn("has no effect: belongs to ", problems.texts("notice")[0])
        _, problems = load("[DEFAULT]\nDESTINATIONS = a:1\n[cache]\n")
        self.assertEqual(problems.reports, [])

    def test_refused_switches_are_warnings_only_when_on(self) -> None:
        for name in ("USE_INSECURE_UNPICKLER", "ENABLE_AMQP", "ENABLE_MANHOLE"):
            self.assertEqual(load(f"[cache]\n{name} = False\n")[1].reports, [])
            _, problems = load(f"[cache]\n{name} = True\n")
            self.assertEqual([report.weight for report in problems.reports], ["warning"])

    def test_none_and_empty_leave_the_default(self) -> None:
        default, _ = load("[cache]\n")
        text = "[cache]\nMETRIC_CLIENT_IDLE_TIMEOUT = None\nMAX_UPDATES_PER_SECOND_ON_SHUTDOWN =\n"
        config, problems = load(text)
        self.assertEqual((config, problems.reports), (default, []))

    def test_numbers_without_limit(self) -> None:
        config, _ = load(
            "[cache]\nMAX_CACHE_SIZE = inf\nMAX_UPDATES_PER_SECOND = inf\nMAX_RECEIVER_CONNECTIONS = inf\n"
        )
        assert config.cache is not None
        found = (config.cache.max_points, config.writer.max_updates_per_second, config.limits.max_connections)
        self.assertEqual(found, (inf, inf, inf))


class FaultTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.dictionaries(
            st.sampled_from(sorted(name for name in CARBON_OPTIONS if not name.endswith("_INTERFACE"))),
            st.one_of(
                st.sampled_from(["", "1", "0", "True", "no", "inf", "-1", "nan", "None", "1e400", "~", "a,b", "%%"]),
                st.text(alphabet="aA1.-:/=# ;[]\u20ac\x00", max_size=6),
            ),
            max_size=12,
        )
    )
    def test_any_values_give_a_config_that_round_trips_or_faults(self, options: dict[str, str]) -> None:
        text = "[cache]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        config, problems = load(text)
        if not problems.failed:
            self.assertEqual(read_back(config), (config, []), text)

    def test_an_interface_may_be_a_name_where_native_configuration_takes_addresses_alone(self) -> None:
        config, problems = load("[cache]\nLINE_RECEIVER_INTERFACE = web01\n")
        self.assertEqual((problems.texts("error"), config.listeners[0].interface), ([], "web01"))
        self.assertIn("'web01' is neither an IPv4 nor an IPv6 address", read_back(config)[1][0])

    @given(st.text(alphabet="aA1.-:/=#;[]\u20ac", min_size=1, max_size=12))
    def test_an_interface_is_something_that_can_be_bound_or_a_fault(self, interface: str) -> None:
        config, problems = load(f"[cache]\nLINE_RECEIVER_INTERFACE = {interface}\n")
        if problems.failed:
            self.assertTrue(all("is neither an address nor a name" in text for text in problems.texts("error")))
        elif config.listeners[0].interface != "0.0.0.0":
            self.assertRegex(config.listeners[0].interface, r"\A[a-zA-Z0-9:][a-zA-Z0-9.:-]*\Z")

    def test_faults_of_doors_name_the_option(self) -> None:
        doors = "LINE_RECEIVER_INTERFACE = ;\nUDP_RECEIVER_INTERFACE = (\nENABLE_UDP_LISTENER = True\n"
        doors += "PICKLE_RECEIVER_PORT = 2003\nCACHE_QUERY_PORT = 99999\nPROTOBUF_RECEIVER_ENDPOINT = x\n"
        doors += "LINE_RECEIVER_PORT = 2003\nHTTP_PORT = 2003\n"
        _, problems = load(f"[cache]\n{doors}")
        self.assertEqual(
            [text.partition(": ")[0] + " " + text.split(": ")[1] for text in problems.texts("error")],
            [
                "/c/carbon.conf:2 LINE_RECEIVER_INTERFACE",
                "/c/carbon.conf:3 UDP_RECEIVER_INTERFACE",
                "/c/carbon.conf:6 CACHE_QUERY_PORT",
                "/c/carbon.conf:7 PROTOBUF_RECEIVER_ENDPOINT",
                "/c/carbon.conf:9 HTTP_PORT",
            ],
        )

    def test_faults_between_values_name_the_option(self) -> None:
        _, problems = load("[cache]\nGRAPHITE_URL = example.net\nWAL_MAX_BYTES = 1000000\n")
        self.assertEqual(
            [report.option for report in problems.reports if report.line], ["GRAPHITE_URL", "WAL_MAX_BYTES"]
        )

    def test_bad_files_tell_their_faults(self) -> None:
        for name, text, expected in bad_cases(_DATA):
            _, problems = load(text)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)
