"""The rows of twistd: which options each has, which dialect it reads, and with which status faults end it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from typing import Any

from twisted.application.service import ServiceMaker
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.daemonservice import DaemonService
from twisted.plugins import cadtwist_plugin

_CARBON = (
    "[DEFAULT]\nSTORAGE_DIR = /nowhere\n[cache]\n[aggregator-cache]\n[aggregator]\nDESTINATIONS = h:1\n"
    "[relay]\nDESTINATIONS = h:1\n"
)
_GOOD = {
    "carbon.conf": f"{_CARBON}RELAY_METHOD = constant\n",
    "rules.conf": _CARBON,
    "storage-schemas.conf": "",
    "aggregation-rules.conf": "",
    "s.json": '{"statsd": {"shard_map": ["h:1"]}}',
    "c.toml": '[default]\n[a]\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n',
    "p.js": "{nodes: [{host: 'h', port: 1, adminport: 2}]}",
    "n.toml": "[cache]\n",
    "reader.toml": '[storage]\nread_only = true\n[[listeners]]\nprotocol = "http"\nport = 80\n',
    "memory.toml": '[cache]\n[storage]\nkind = "memory"\n[[listeners]]\nprotocol = "http"\nport = 80\n',
    "i.cfg": "--store /nowhere\n--user 0\n",
    "mine": "[all]\ndefault = true\ndestinations = h:1\n",
    "pre.toml": '[x]\nlisten_server = "a"\ndefault_backend = "a"\n[[x.map]]\nprefix = "p"\n',
}
_ROWS = {
    "cache": ("carbon.conf", "carbon-cache", 1),
    "carbon-cache": ("carbon.conf", "carbon-cache", 1),
    "relay": ("carbon.conf", "carbon-relay", 1),
    "carbon-relay": ("carbon.conf", "carbon-relay", 1),
    "aggregator": ("carbon.conf", "carbon-aggregator", 1),
    "carbon-aggregator": ("carbon.conf", "carbon-aggregator", 1),
    "carbon-aggregator-cache": ("carbon.conf", "carbon-aggregator-cache", 1),
    "statsrelay": ("s.json", "statsrelay", 1),
    "statsd-proxy": ("p.js", "statsd-proxy", 1),
    "cadent": ("c.toml", "cadent", 2),
    "istat": ("i.cfg", "istatd", 1),
    "cadtwist": ("n.toml", "cadtwist", 2),
}
"""Each row: a configuration that it reads, the program that this makes, the status of faults."""


class RowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        for name, text in {**_GOOD, "bad": "{"}.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        made = (value for value in vars(cadtwist_plugin).values() if isinstance(value, ServiceMaker))
        self.rows: dict[str, Any] = {row.tapname: importlib.import_module(row.module) for row in made}

    def service(self, name: str, *argv: str) -> DaemonService:
        options = self.rows[name].Options()
        options.parseOptions(list(argv))
        service = self.rows[name].makeService(options)
        assert isinstance(service, DaemonService)
        return service

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def test_every_row_reads_its_dialect(self) -> None:
        self.assertLessEqual(set(_ROWS), set(self.rows))
        for name, (file, program, _) in _ROWS.items():
            config = self.service(name, f"--config={self.path(file)}").loaded.config
            self.assertEqual(config.program, program, name)

    def test_every_row_tells_all_faults_and_exits_with_its_status(self) -> None:
        for name, (_, _, status) in _ROWS.items():
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                exit_ = self.assertRaises(SystemExit, self.service, name, f"--config={self.path('bad')}")
            self.assertEqual(exit_.code, status, name)
            self.assertIn(self.path("bad"), err.getvalue())

    def test_the_reader_takes_what_concerns_reading(self) -> None:
        """From carbon.conf and from TOML; without a port nobody could ask."""
        conf = f"--config={self.path('carbon.conf')}"
        config = self.service("graphite", conf, "--port=8080", "--interface=::1").loaded.config
        (door,) = config.listeners
        self.assertEqual((door.protocol, door.interface, door.port), ("http", "::1", 8080))
        self.assertEqual((config.cache, config.relays, config.self_metrics.interval_s), (None, (), 0.0))
        self.assertEqual((config.storage.root, config.storage.read_only), ("/nowhere/whisper", True))
        self.assertEqual((config.program, config.log.directory), ("graphite", "/nowhere/log/carbon-cache/graphite-a"))
        config = self.service("graphite", conf, "--port=1", "--logdir=/logs").loaded.config
        self.assertEqual(config.log.directory, "/logs/graphite-a")
        config = self.service("graphite", f"--config={self.path('reader.toml')}").loaded.config
        self.assertEqual((config.listeners[0].port, config.log.directory), (80, ""))
        for arguments, text in (
            ((conf,), "there is no listener for HTTP"),
            ((f"--config={self.path('memory.toml')}",), "nothing that another process could read"),
            ((f"--config={self.path('bad')}",), self.path("bad")),
        ):
            err = io.StringIO()
            with contextlib.redirect_stderr(err):
                exit_ = self.assertRaises(SystemExit, self.service, "graphite", *arguments)
            self.assertEqual(exit_.code, 2)
            self.assertIn(text, err.getvalue())
        for argument in ("--port=x", "--port=0", "--port=65536", "--interface=::1"):
            self.assertRaises(UsageError, self.service, "graphite", conf, argument)

    def test_files_of_the_command_line(self) -> None:
        conf = f"--config={self.path('rules.conf')}"
        config = self.service("carbon-relay", conf, "--rules", self.path("mine"), "start").loaded.config
        self.assertEqual(config.relays[0].groups[0].rules[0].name, "all")
        self.assertRaises(UsageError, self.service, "carbon-relay", conf, "stop")
        prereg = f"--prereg={self.path('pre.toml')}"
        config = self.service("cadent", f"--config={self.path('c.toml')}", prereg).loaded.config
        self.assertEqual(len(config.relays[0].filters), 1)
        config = self.service("statsrelay", "-c", self.path("s.json"), "-p", "/run/x.pid").loaded.config
        self.assertEqual(config.processes.pid_file, "/run/x.pid")
