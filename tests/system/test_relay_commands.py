"""Each command and row of a relay as a real process, with the configuration of the system that it replaces."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.system.cadtwistd import RUN_TWISTD
from tests.system.case import SystemTestCase
from tests.system.linesink import DatagramSink, LineSink
from tests.system.process import Process, free_ports, until


def command(module: str) -> tuple[str, ...]:
    """Return what runs the console script of a module, arguments to follow."""
    return sys.executable, "-c", f"import sys; from cadtwist.cli.{module} import main; sys.exit(main())"


def send(port: int, data: bytes) -> None:
    """Send `data` over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(data)


class CommandTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sink = LineSink()
        self.addCleanup(self.sink.close)
        (self.port,) = free_ports(1)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def process(self, words: Sequence[str | Path], ports: Sequence[int] | None = None) -> Process:
        return self.started(Process("relay", words, self.folder, ports=(self.port,) if ports is None else ports))

    def arrives(self, process: Process, line: bytes) -> None:
        process.until(f"{line!r} arrives", lambda: self.sink.seen()[line])

    def ended_by(self, number: int, process: Process, *others: int) -> None:
        """Ask `process` to end: it does so with status 0, or one of the `others`."""
        process.signal(number)
        until("it ends", lambda: not process.alive())
        self.assertIn(process.exit_code(), (0, *others), process.tail())

    def ends(self, words: Sequence[str | Path]) -> int | None:
        """Return the exit status of a process that ends by itself."""
        process = Process("ending", words, self.folder)
        self.addCleanup(process.kill)
        process.start()
        until("it ends", lambda: not process.alive())
        return process.exit_code()

    def statsrelay_json(self, **more: object) -> Path:
        statsd = {"bind": f"127.0.0.1:{self.port}", "shard_map": [f"127.0.0.1:{self.sink.port}"], "tcp_cork": False}
        return self.write("statsrelay.json", json.dumps({"statsd": {**statsd, **more}}))

    def test_statsrelay_ends_well_at_both_signals(self) -> None:
        path = self.statsrelay_json()
        for number, words in ((signal.SIGTERM, command("statsrelay")), (signal.SIGINT, command("statsrelay"))):
            process = self.process([*words, "-S", "-v", "-c", path])
            line = b"by.signal%d:1|c" % number
            send(self.port, line + b"\nbad\n")
            self.arrives(process, line)
            self.ended_by(number, process)

    def test_statsrelay_refuses_what_cannot_be(self) -> None:
        words = command("statsrelay")
        self.assertEqual(self.ends([*words, "-S", "-c", self.statsrelay_json(shard_map=["h"])]), 1)
        self.assertEqual(self.ends([*RUN_TWISTD, "-n", "--pidfile=", "statsrelay", "-c", self.folder / "none"]), 1)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            bind = f"127.0.0.1:{taken.getsockname()[1]}"
            self.assertEqual(self.ends([*words, "-S", "-c", self.statsrelay_json(bind=bind)]), 1)

    def test_carbon_relay_by_its_row(self) -> None:
        self.write("relay-rules.conf", f"[all]\ndefault = true\ndestinations = 127.0.0.1:{self.sink.port}\n")
        conf = self.write(
            "carbon.conf",
            f"[relay]\nSTORAGE_DIR = {self.folder}\nLINE_RECEIVER_PORT = {self.port}\nPICKLE_RECEIVER_PORT = 0\n"
            f"LINE_RECEIVER_INTERFACE = 127.0.0.1\nDESTINATIONS = 127.0.0.1:{self.sink.port}\n"
            "DESTINATION_PROTOCOL = line\n",
        )
        process = self.process([*RUN_TWISTD, "-n", "--pidfile=", "carbon-relay", f"--config={conf}"])
        send(self.port, b"a.b 1.5 1700000000\n")
        self.arrives(process, b"a.b 1.5 1700000000\r")
        self.ended_by(signal.SIGTERM, process, -signal.SIGTERM)  # twistd ends by the signal, as carbon's does

    def test_cadent(self) -> None:
        conf = self.write(
            "cadent.toml",
            f'[default]\n[a]\nlisten = "tcp://127.0.0.1:{self.port}"\nmsg_type = "graphite"\n'
            f'[[a.servers]]\nservers = ["tcp://127.0.0.1:{self.sink.port}"]\n',
        )
        prereg = self.write(
            "prereg.toml",
            '[x]\nlisten_server = "a"\ndefault_backend = "a"\n[[x.map]]\nprefix = "no."\nreject = true\n',
        )
        process = self.process([*command("cadent"), f"-config={conf}", f"-prereg={prereg}", "-loglevel=info"])
        send(self.port, b"no.way 1 1\na..b(c) 1 1\n")
        self.arrives(process, b"a.b_c_ 1 1")
        self.assertEqual(self.sink.total, 1)
        self.ended_by(signal.SIGTERM, process)
        process = self.process([*command("cadent"), f"-config={conf}"])
        send(self.port, b"by.quit 1 1\n")
        self.arrives(process, b"by.quit 1 1")
        self.ended_by(signal.SIGQUIT, process)
        self.assertEqual(self.ends([*command("cadent"), f"-config={prereg}"]), 2)

    def test_statsd_proxy(self) -> None:
        node = DatagramSink()
        self.addCleanup(node.close)
        (management,) = free_ports(1)
        conf = self.write(
            "proxyConfig.js",
            f"{{nodes: [{{host: '127.0.0.1', port: {node.port}, adminport: {self.sink.port}}}], host: '127.0.0.1', "
            f"port: {self.port}, mgmt_address: '127.0.0.1', mgmt_port: {management}, checkInterval: 60000}}",
        )
        process = self.process([*command("statsdproxy"), conf], ports=())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:

            def arrived() -> bool:
                client.sendto(b"a:1|c\nb:2|c", ("127.0.0.1", self.port))
                return {b"a:1|c", b"b:2|c"} <= set(node.datagrams)

            process.until("both lines arrive", arrived)
        self.ended_by(signal.SIGTERM, process)
