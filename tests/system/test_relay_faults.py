"""Faulty configurations of every dialect of a relay: all faults at once, the exit code, and no change by a reload."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.system.cadtwistd import RUN_TWISTD
from tests.system.case import SystemTestCase
from tests.system.linesink import DatagramSink, LineSink
from tests.system.process import Process, free_ports, until

NATIVE = """[[listeners]]
protocol = "line"
interface = "127.0.0.1"
port = {port}

[[relays]]
[[relays.groups]]
method = "constant"
members = ["sink"]

[[destinations]]
name = "sink"
host = "127.0.0.1"
port = {sink}
"""
CARBON = """[relay]
STORAGE_DIR = {folder}
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {port}
PICKLE_RECEIVER_PORT = 0
RELAY_METHOD = rules
DESTINATIONS = 127.0.0.1:{sink}
DESTINATION_PROTOCOL = line
"""
RULES = "[all]\ndefault = true\ndestinations = 127.0.0.1:{sink}\n"
STATSRELAY = '{{"statsd": {{"bind": "127.0.0.1:{port}", "shard_map": ["127.0.0.1:{sink}"]}}}}'
CADENT = """[default]
[a]
listen = "tcp://127.0.0.1:{port}"
msg_type = "graphite"
[[a.servers]]
servers = ["tcp://127.0.0.1:{sink}"]
"""
PREREG = '[x]\nlisten_server = "a"\ndefault_backend = "a"\n[[x.map]]\nprefix = "no."\nreject = true\n'
PROXY = """{{nodes: [{{host: '127.0.0.1', port: {sink}, adminport: {admin}}}], host: '127.0.0.1', port: {port},
  mgmt_address: '127.0.0.1', mgmt_port: {management}, checkInterval: 60000}}
"""


class FaultTests(SystemTestCase):
    """Each test has good files and bad ones, of which it knows what is told."""

    def setUp(self) -> None:
        super().setUp()
        self.sink, self.node = LineSink(), DatagramSink()
        self.addCleanup(self.sink.close)
        self.addCleanup(self.node.close)
        self.port, self.management = free_ports(2)

    def write(self, files: Mapping[str, str], sink: int) -> None:
        for name, text in files.items():
            values = {"port": self.port, "sink": sink, "folder": self.folder, "management": self.management}
            values["admin"] = self.sink.port  # accepts and says nothing: no fault for as long as a check is patient
            (self.folder / name).write_text(text.format(**values))

    def refuses(
        self,
        row: str,
        words: Sequence[str],
        good: Mapping[str, str],
        bad: Sequence[tuple[Mapping[str, str], Sequence[str]]],
        code: int,
        line: bytes = b"a.b 1 1700000000",
        udp: bool = False,
    ) -> None:
        """See that each of the `bad` files ends a start with `code`, telling all faults, and changes nothing later."""
        command: list[str | Path] = [*RUN_TWISTD, "-n", "--pidfile=", row]
        command += [word.format(folder=self.folder) for word in words]
        sink = self.node.port if udp else self.sink.port
        for number, (files, faults) in enumerate(bad):
            self.write({**good, **files}, sink)
            starting = self.started(Process(f"faulty{number}", command, self.folder))
            until("it ends", lambda starting=starting: not starting.alive())
            self.assertEqual(starting.exit_code(), code, starting.tail())
            for fault in faults:
                self.assertIn(fault, starting.tail())
            self.assertNotIn("Traceback", starting.tail())
        self.write(good, sink)
        relay = self.started(Process("relay", command, self.folder, ports=() if udp else (self.port,)))
        if udp:
            self.arrives(relay, line, udp)
        for files, faults in bad:
            self.write({**good, **files}, sink)
            relay.signal(signal.SIGHUP)
            relay.until("every fault is told", lambda faults=faults: all(fault in relay.tail() for fault in faults))
            self.arrives(relay, line, udp)

    def arrives(self, relay: Process, line: bytes, udp: bool) -> None:
        """See that `line` goes the old way."""
        before = self.sink.total

        def there() -> bool:
            if not udp:
                return self.sink.total > before
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(line, ("127.0.0.1", self.port))
            return line in self.node.datagrams

        if udp:
            self.node.datagrams.clear()
        else:
            with socket.create_connection(("127.0.0.1", self.port), 10) as client:
                client.sendall(line + b"\n")
        relay.until("it relays as before", there)

    def test_native(self) -> None:
        values = NATIVE.replace('"constant"', '"nonsense"').replace("port = {sink}", 'port = 70000\nstrange = 1')
        bad = (
            ({"relay.toml": values}, ("nonsense", "strange", "70000")),
            ({"relay.toml": NATIVE + "port = = 5\n"}, ("relay.toml:",)),
            ({"relay.toml": NATIVE.replace('["sink"]', '["nobody"]')}, ("nobody",)),
        )
        self.refuses("cadtwist", ["-c", "{folder}/relay.toml"], {"relay.toml": NATIVE}, bad, 2)

    def test_carbon(self) -> None:
        rules = RULES + "[two]\ndefault = true\ndestinations = x\n"
        rules += "[three]\npattern = (\ndestinations = 127.0.0.1:{sink}\n"
        values = CARBON.replace("= line", "= telegraph") + "REPLICATION_FACTOR = many\n"
        bad = (
            ({"carbon.conf": values}, ("telegraph", "many")),
            ({"relay-rules.conf": rules}, ("[two]", "[three]")),
            ({"relay-rules.conf": "[all\n"}, ("relay-rules.conf:1",)),
        )
        good = {"carbon.conf": CARBON, "relay-rules.conf": RULES}
        self.refuses("relay", ["--config={folder}/carbon.conf"], good, bad, 1)

    def test_statsrelay(self) -> None:
        values = STATSRELAY.replace('"shard_map": [', '"validate": 7, "tcp_cork": "x", "shard_map": [')
        bad = (
            ({"relay.json": values}, ("validate", "tcp_cork")),
            ({"relay.json": STATSRELAY + "}}"}, ("relay.json:",)),
        )
        words = ["--config={folder}/relay.json"]
        self.refuses("statsrelay", words, {"relay.json": STATSRELAY}, bad, 1, line=b"a.b:1|c")

    def test_cadent(self) -> None:
        values = CADENT.replace('"graphite"', '"telegraph"').replace("[[a", 'num_dupe_replicas = "many"\n[[a')
        bad = (
            ({"cadent.toml": values}, ("telegraph", "num_dupe_replicas")),
            ({"cadent.toml": CADENT + "[[\n"}, ("cadent.toml:",)),
            ({"prereg.toml": PREREG + '[[x.map]]\nregex = "("\n[[x.map]]\nprefix = "a"\nbackend = "b"\n'},
             ("'('", "'b'")),
        )  # fmt: skip
        words = ["--config={folder}/cadent.toml", "--prereg={folder}/prereg.toml"]
        self.refuses("cadent", words, {"cadent.toml": CADENT, "prereg.toml": PREREG}, bad, 2)

    def test_statsd_proxy(self) -> None:
        values = PROXY.replace("checkInterval: 60000", "checkInterval: 'often', forkCount: 'some'")
        bad = (
            ({"proxy.js": values}, ("checkInterval", "forkCount")),
            ({"proxy.js": PROXY + "}}"}, ("proxy.js:",)),
        )
        words = ["--config={folder}/proxy.js"]
        self.refuses("statsd-proxy", words, {"proxy.js": PROXY}, bad, 1, line=b"a.b:1|c", udp=True)
