"""Every sample in conf/ loads without a remark and round-trips as native TOML."""

from __future__ import annotations

import json
import os
import re

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.accumulatorwriting import FileWriting, WhisperWriting, file_writing, whisper_writing
from cadtwist.config.cadent import load_cadent
from cadtwist.config.cadentsection import IDLE_KEYS, SECTION_KEYS
from cadtwist.config.carbonoptions import CARBON_OPTIONS
from cadtwist.config.errors import Problems
from cadtwist.config.istatd import read_istatd
from cadtwist.config.load import Loaded, load, read_file
from cadtwist.config.model import CacheConfig, Config
from cadtwist.config.native import load_native
from cadtwist.config.rules import read_patterns
from cadtwist.config.toml import to_toml
from cadtwist.config.tomllines import read_toml
from cadtwist.model.cadentstyle import cadent_style

_CONF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf")
_ENVIRON = {"GRAPHITE_ROOT": "/opt/graphite"}


def _load(name: str, program: str = "") -> Loaded:
    return load(os.path.join(_CONF, name), environ=_ENVIRON, program=program)


class SampleTests(SynchronousTestCase):
    def test_load_without_remark_and_round_trip(self) -> None:
        for name, program in (
            *(("carbon.conf", program) for program in ("", "carbon-relay", "carbon-aggregator")),
            ("statsrelay.json", ""),
            ("statsd-proxy.js", ""),
            ("quickstart.toml", ""),
            ("istatd.cfg", ""),
            ("cadtwist.toml", ""),
            ("graphite.toml", ""),
            ("dattss.toml", ""),
        ):
            loaded = _load(name, program)
            self.assertEqual((loaded.warnings, loaded.notices), ((), ()), name)
            problems = Problems()
            again = load_native(to_toml(loaded.config), "x.toml", read_file, problems)
            self.assertEqual((again, problems.reports), (loaded.config, []), name)

    def test_quickstart_opens_the_promised_doors(self) -> None:
        config = _load("quickstart.toml").config
        self.assertEqual(
            sorted((listener.protocol, listener.transport, listener.port) for listener in config.listeners),
            [
                ("cachequery", "tcp", 7002),
                ("dattss", "tcp", 3002),
                ("dattss", "udp", 8127),
                ("http", "tcp", 18011),
                ("line", "tcp", 2003),
                ("line", "udp", 2003),
                ("pickle", "tcp", 2004),
                ("statsd", "tcp", 8125),
                ("statsd", "udp", 8125),
            ],
        )
        istat = config.istat
        assert istat is not None
        self.assertEqual((istat.listen_address, istat.stat_port, istat.http_port), ("127.0.0.1", 8111, 8110))
        self.assertTrue(istat.store.startswith("var/"))
        self.assertEqual((config.self_metrics.interval_s, config.local_stats.interval_s), (10.0, 10.0))
        self.assertTrue(config.storage.root.startswith("var/"))
        self.assertTrue(config.wal.directory.startswith("var/"))

    def test_the_carbon_sample_shows_carbons_defaults(self) -> None:
        config = _load("carbon.conf").config
        self.assertEqual(config.cache, CacheConfig())
        self.assertEqual(config.limits, Config().limits)
        self.assertEqual([rule.name for rule in config.schemas], ["carbon", "default"])
        self.assertEqual([rule.name for rule in config.aggregation], ["min", "max", "sum", "default"])

    def test_the_cadent_samples(self) -> None:
        prereg = os.path.join(_CONF, "cadent-prereg.toml")
        loaded = load(os.path.join(_CONF, "cadent.toml"), overrides={"prereg": prereg})
        self.assertEqual((loaded.warnings, loaded.notices), ((), ()))
        config = loaded.config
        names = ["statsd-proxy", "statsd", "graphite-proxy", "log-proxy", "archive", "graphite-bins"]
        self.assertEqual([relay.name for relay in config.relays], names)
        self.assertEqual([len(relay.filters) for relay in config.relays], [0, 0, 4, 0, 0, 0])
        found = [(each.relay, each.backend) for each in config.accumulators]
        self.assertEqual(found, [("statsd", "graphite-proxy"), ("graphite-bins", "")])
        self.assertEqual(cadent_style(dict(config.accumulators[0].options), 10.0, False, False),
                         cadent_style({}, 10.0, False, False))  # fmt: skip
        problems = Problems()
        again = load_native(to_toml(config), "x.toml", read_file, problems)
        self.assertEqual((again, problems.reports), (config, []))

    def test_the_writers_of_the_cadent_samples(self) -> None:
        text = read_file(os.path.join(_CONF, "cadent-prereg.toml"))
        whole = re.sub(r"^    # (\s*(?:\[|\w+ = ).*)$", r"\1", text, flags=re.MULTILINE)
        problems = Problems()
        main = read_file(os.path.join(_CONF, "cadent.toml"))
        config = load_cadent(main, "c", problems, ("p", whole))
        self.assertEqual(problems.reports, [])
        writers = [each.writer for each in config.accumulators if each.writer is not None]
        self.assertEqual([each.metrics.driver for each in writers], ["file", "whisper"])
        self.assertEqual(file_writing(writers[0].metrics.options), FileWriting())
        self.assertEqual(whisper_writing(writers[1].metrics.options), WhisperWriting())

    def test_the_documents_name_every_key_of_other_dialects(self) -> None:
        text = read_file(os.path.join(os.path.dirname(_CONF), "docs", "dialects.md"))
        named = set(re.findall(r"`(\w+)`", text))
        statsd = json.loads(read_file(os.path.join(_CONF, "statsrelay.json")))["statsd"]
        tree, _ = read_toml(read_file(os.path.join(_CONF, "cadent.toml")), "", Problems())
        assert tree is not None
        proxy = re.findall(r"^  (\w+):", read_file(os.path.join(_CONF, "statsd-proxy.js")), re.MULTILINE)
        keys = {*statsd, *statsd["duplicate_to"][0], *proxy, *IDLE_KEYS, *SECTION_KEYS}
        for section in tree.values():
            keys |= section.keys()
        self.assertEqual(keys - named - {"time_layout"}, set())

    def test_the_carbon_sample_of_a_relay(self) -> None:
        config = _load("carbon.conf", "carbon-relay").config
        self.assertEqual([listener.port for listener in config.listeners], [2013, 2014])
        self.assertEqual([found.name for found in config.destinations], ["127.0.0.1:2004"])
        self.assertEqual([rule.name for rule in config.relays[0].groups[0].rules], ["default"])

    def test_the_carbon_sample_is_complete(self) -> None:
        text = read_file(os.path.join(_CONF, "carbon.conf"))
        shown = set(re.findall(r"^#? ?([A-Z_0-9]+) =", text, re.MULTILINE))
        expected = {row.name for row in CARBON_OPTIONS.values() if not row.reason and "refused" not in row.effect}
        self.assertEqual(shown, expected)

    def test_the_native_sample_shows_the_defaults(self) -> None:
        config = _load("cadtwist.toml").config
        lists = {"listeners": (), "schemas": (), "aggregation": ()}
        plain = {name: getattr(config, name) for name in Config.__struct_fields__} | lists
        self.assertEqual(Config(**plain), Config(cache=CacheConfig()))

    def test_lists(self) -> None:
        for name in ("whitelist.conf", "blacklist.conf"):
            problems = Problems()
            self.assertEqual(read_patterns(read_file(os.path.join(_CONF, name)), name, problems), ())
            self.assertEqual(problems.reports, [])


class IstatdSampleTests(SynchronousTestCase):
    def test_loads_without_a_remark(self) -> None:
        text = read_file(os.path.join(_CONF, "istatd.cfg"))
        problems = Problems()
        config = read_istatd(text, "istatd.cfg", (), problems).istat
        self.assertEqual(problems.reports, [])
        self.assertEqual((config.stat_port, config.http_port, config.admin_port), (18001, 18011, 18031))
        self.assertTrue(config.store.startswith("./var/istatd"))

    def test_what_is_commented_out_is_right_too(self) -> None:
        text = read_file(os.path.join(_CONF, "istatd.cfg"))
        problems = Problems()
        read_istatd(text.replace("#--", "--"), "istatd.cfg", (), problems)
        self.assertEqual(problems.reports, [])
