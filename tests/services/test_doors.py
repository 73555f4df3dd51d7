"""Doors of every kind with real sockets: unix, IPv6, TLS, PROXY, endpoint texts; limits and last bytes."""

from __future__ import annotations

import os
import pickle
import socket
import ssl
import struct
import time
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.cache import Cache
from cadtwist.codec.frames import frame
from cadtwist.config.model import Config, LimitsConfig, Listener, TlsConfig, WriterConfig
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, RelayConfig
from cadtwist.errors import CadtwistError
from cadtwist.flow import Gate
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.listeners import bind_udp
from cadtwist.net.tls import TLS_AVAILABLE
from cadtwist.protocols.factory import READ_BYTES
from cadtwist.services.build import Daemon
from cadtwist.services.doors import CacheAnswers
from cadtwist.services.receivers import door_name
from cadtwist.services.sequence import Sequence
from cadtwist.telemetry import Account
from tests.net.test_tls import made, pem
from tests.services.daemons import DaemonCase, reactor, until


def free_port(family: int = socket.AF_INET, host: str = "127.0.0.1") -> int:
    """Return a port that nobody has."""
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class AnswerTests(SynchronousTestCase):
    """What carbonlink clients are told of the cache."""

    def test_points_of_several_metrics_within_a_bound(self) -> None:
        table, points = active.table.MetricTable(1), active.points.PointStore()
        for name in (b"a", b"b"):
            table.intern(name, 0)
        cache = Cache(table, points, lambda ids: np.zeros(len(ids), np.int32), Account("cache"), Gate())
        cache.accept(Batch(np.array([0, 1, 1], np.uint32), np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])))
        answers = CacheAnswers(table, cache, None)
        offsets, timestamps, values = answers.peek(["b", "unknown", "a"], 3)
        self.assertEqual((offsets.tolist(), timestamps.tolist()), ([0, 2, 2, 3], [2.0, 3.0, 1.0]))
        self.assertEqual(values.tolist(), [5.0, 6.0, 4.0])
        self.assertEqual(answers.peek(["unknown"], 0)[0].tolist(), [0, 0])
        with self.assertRaisesRegex(CadtwistError, "3 datapoints are pending, an answer has at most 2"):
            answers.peek(["a", "b"], 2)


class ServedTests(SynchronousTestCase):
    """Doors at which another process listens."""

    def test_what_shuts_the_gate_shuts_it_for_all_connections(self) -> None:
        """Those that are read later in the same turn take no more than one byte."""
        door = Listener(protocol="line", interface="127.0.0.1", port=2003)
        relay = RelayConfig(name="relay", groups=(GroupConfig(method="constant", members=("a",)),))
        config = Config(
            listeners=(door,), relays=(relay,), destinations=(DestinationConfig(name="a", host="127.0.0.1", port=1),)
        )
        clock = MemoryReactorClock()
        daemon = Daemon(clock, config, served=True)
        served = Sequence()
        for service in daemon.doors.services():
            service.setServiceParent(served)
        served.startService()
        connection = daemon.doors.accepting[door_name(door)].buildProtocol(None)
        transport: Any = StringTransport()
        transport.bufferSize = 1 << 16
        connection.makeConnection(transport)
        daemon.gate.pause("test")
        self.assertEqual(transport.bufferSize, 1)
        daemon.gate.resume("test")
        self.assertEqual(transport.bufferSize, READ_BYTES)
        served.stopService()
        daemon.gate.pause("test")
        self.assertEqual(transport.bufferSize, READ_BYTES)


class DoorTests(DaemonCase):
    """A line through each kind of door arrives."""

    async def start_with(self, *doors: Listener, **limits: Any) -> Daemon:
        config = replace(self.config(), writer=WriterConfig(max_updates_per_second=float("inf")))
        listeners = (*config.listeners, *doors)
        return await self.start(replace(config, listeners=listeners, limits=LimitsConfig(**limits)))

    async def arrives(self, daemon: Daemon, points: int = 1) -> None:
        await until(lambda: daemon.telemetry.account("cache").received == points)
        self.balanced(daemon)

    def test_a_passed_connection_that_was_reset_or_lost_closes_no_door(self) -> Any:
        """A client may go, and a descriptor may not come through, before a process takes a connection up."""

        async def run() -> None:
            port = free_port()
            daemon = await self.start_with(Listener(protocol="line", interface="127.0.0.1", port=port))
            key = door_name(daemon.config.listeners[-1])
            with socket.create_server(("127.0.0.1", 0)) as server:
                client = socket.create_connection(server.getsockname())
                accepted = server.accept()[0].detach()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            daemon.doors.take_up(Passed(kind="connection", key=key, fd=accepted))
            with self.assertRaises(OSError):
                os.fstat(accepted)
            daemon.doors.take_up(Passed(kind="connection", key=key, fd=-1))
            counters = daemon.telemetry.account(key).counters
            self.assertEqual((counters["gone_before_taken"], counters["connections_refused"]), (1, 1))
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"still.open 1 -1\n")
                await self.arrives(daemon)

        return ensureDeferred(run())

    def test_a_connection_within_a_line_whose_door_reads_another_way_now_is_closed(self) -> Any:
        async def run() -> None:
            port = free_port()
            door = Listener(protocol="line", interface="127.0.0.1", port=port, proxy_protocol=True)
            daemon = await self.start_with(door)
            key = door_name(daemon.config.listeners[-1])
            ours, theirs = socket.socketpair()
            with ours:
                daemon.doors.take_up(Passed(kind="connection", key=key, data=b"half", fd=theirs.detach()))
                ours.settimeout(10)
                self.assertEqual(await deferToThread(ours.recv, 1), b"")
            self.assertEqual(daemon.telemetry.account(key).counters["connections_refused"], 1)

        return ensureDeferred(run())

    def test_sockets_of_several_former_workers_are_read_by_one_process(self) -> Any:
        async def run() -> None:
            port = free_port()
            door = Listener(protocol="line", transport="udp", interface="127.0.0.1", port=port)
            bound = [bind_udp("127.0.0.1", port) for _ in range(3)]
            passed = [Passed(kind="datagrams", key=door_name(door), fd=each.detach()) for each in bound]
            config = replace(self.config(), listeners=(*self.config().listeners, door))
            daemon = Daemon(reactor, config, Inheritance(passed))
            daemon.service.startService()
            self.daemons.append(daemon)
            await until(lambda: not daemon.ready_waits() and os.path.exists(self.door))
            for number in range(30):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.sendto(b"former.m%d 1 -1\n" % number, ("127.0.0.1", port))
            await self.arrives(daemon, 30)
            again = [thing for thing in daemon.pass_on() if thing.kind == "datagrams"]
            self.assertEqual([thing.key for thing in again], [door_name(door)] * 3)
            Inheritance(again).close()

        return ensureDeferred(run())

    def test_ipv6(self) -> Any:
        async def run() -> None:
            port = free_port(socket.AF_INET6, "::1")
            daemon = await self.start_with(Listener(protocol="line", interface="::1", port=port))
            with socket.create_connection(("::1", port)) as client:
                client.sendall(b"six 1 -1\n")
                await self.arrives(daemon)

        return ensureDeferred(run())

    def test_ipv6_datagrams(self) -> Any:
        async def run() -> None:
            port = free_port(socket.AF_INET6, "::1")
            daemon = await self.start_with(Listener(protocol="line", transport="udp", interface="::1", port=port))
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
                client.sendto(b"six.u 1 -1\nsix.v 2 -1\n", ("::1", port))
                await self.arrives(daemon, 2)

        return ensureDeferred(run())

    def test_endpoint_text(self) -> Any:
        async def run() -> None:
            path = os.path.join(self.folder, "e.sock")
            daemon = await self.start_with(Listener(protocol="line", transport="endpoint", endpoint=f"unix:{path}"))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"end.point 1 -1\n")
                await self.arrives(daemon)

        return ensureDeferred(run())

    def test_proxy_header(self) -> Any:
        async def run() -> None:
            port = free_port()
            daemon = await self.start_with(
                Listener(protocol="line", interface="127.0.0.1", port=port, proxy_protocol=True)
            )
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 2003\r\nbehind.proxy 1 -1\n")
                await self.arrives(daemon)

        return ensureDeferred(run())

    def test_half_closed_connection_behind_a_proxy(self) -> Any:
        """Who says no more is answered, as without a proxy; where nobody answers, the connection ends."""

        async def run() -> None:
            ports = free_port(), free_port()
            await self.start_with(
                Listener(protocol="cachequery", interface="127.0.0.1", port=ports[0], proxy_protocol=True),
                Listener(protocol="line", interface="127.0.0.1", port=ports[1], proxy_protocol=True),
            )

            def ask(port: int, text: bytes) -> bytes:
                with socket.create_connection(("127.0.0.1", port), 10) as client:
                    client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 7002\r\n" + text)
                    client.shutdown(socket.SHUT_WR)
                    return b"".join(iter(lambda: client.recv(4096), b""))

            query = frame(pickle.dumps({"type": "cache-query", "metric": "a"}, 2))
            answer = await deferToThread(ask, ports[0], query)
            self.assertEqual(pickle.loads(answer[4:]), {"datapoints": []})
            self.assertEqual(await deferToThread(ask, ports[1], b"behind.proxy 1 -1\n"), b"")

        return ensureDeferred(run())

    def test_tls(self) -> Any:
        if not TLS_AVAILABLE:
            self.skipTest("cadtwist[tls] is not installed")

        async def run() -> None:
            path = self.certificate()
            port = free_port()
            door = Listener(protocol="line", interface="127.0.0.1", port=port, tls=TlsConfig(certificate=path))
            daemon = await self.start_with(door)

            def say() -> None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as client:
                    client.sendall(b"secret 1 -1\n")

            await deferToThread(say)
            await self.arrives(daemon)

        return ensureDeferred(run())

    def test_one_bound_for_all_doors(self) -> Any:
        """At the bound the unix door stops accepting too: the next client waits, and is heard later."""

        async def run() -> None:
            port = free_port()
            daemon = await self.start_with(
                Listener(protocol="line", interface="127.0.0.1", port=port), max_connections=1
            )
            with socket.socket(socket.AF_UNIX) as waiting:
                with socket.create_connection(("127.0.0.1", port)) as first:
                    first.sendall(b"first 1 -1\n")
                    await self.arrives(daemon, 1)
                    waiting.connect(self.door)
                    waiting.sendall(b"second 2 -1\n")
                    await self.some_turns()
                    self.assertEqual(daemon.telemetry.account("cache").received, 1)
                await self.arrives(daemon, 2)

        return ensureDeferred(run())

    def certificate(self) -> str:
        """Return the path of a certificate of our own with its key."""
        path = os.path.join(self.folder, "own.pem")
        with open(path, "wb") as file:
            file.write(pem(*made("localhost")))
        return path

    async def some_turns(self) -> None:
        """Let some turns go by."""
        turns = iter(range(10))
        await until(lambda: next(turns) == 9)

    def test_clients_that_cannot_be_passed_on_end_their_connections_themselves(self) -> Any:
        """They are told goodbye, and what they still send is read; a stop waits for them so long, and no longer."""
        if not TLS_AVAILABLE:
            self.skipTest("cadtwist[tls] is not installed")

        async def run() -> None:
            path = self.certificate()
            ports = [free_port(), free_port()]
            daemon = await self.start_with(
                Listener(protocol="line", interface="127.0.0.1", port=ports[0], tls=TlsConfig(certificate=path)),
                Listener(protocol="line", interface="127.0.0.1", port=ports[1], proxy_protocol=True),
            )

            def secretly() -> None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                with socket.create_connection(("127.0.0.1", ports[0]), 30) as plain:
                    client = context.wrap_socket(plain)
                    client.sendall(b"secret.a 1 -1\nsecret.")
                    self.assertEqual(client.recv(1), b"")
                    client.sendall(b"b 2 -1\n")
                    client.unwrap().close()

            def by_proxy() -> None:
                with socket.create_connection(("127.0.0.1", ports[1]), 30) as client:
                    client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 2003\r\nproxy.a 1 -1\nproxy.")
                    self.assertEqual(client.recv(1), b"")
                    client.sendall(b"b 2 -1\n")

            clients = [deferToThread(secretly), deferToThread(by_proxy)]
            await self.arrives(daemon, 2)
            stopped = self.daemons.pop().service.stopService()
            for client in clients:
                await client
            await stopped
            self.assertEqual(daemon.telemetry.account("cache").received, 4)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_what_the_kernel_has_at_a_stop_is_read(self) -> Any:
        """Megabytes that were sent before the stop began arrive, of a TCP and of a unix connection."""

        async def run() -> None:
            port = free_port()
            daemon = await self.start_with(Listener(protocol="line", interface="127.0.0.1", port=port))
            now = int(time.time())
            with socket.create_connection(("127.0.0.1", port)) as one, socket.socket(socket.AF_UNIX) as two:
                two.connect(self.door)
                for client in (one, two):
                    client.sendall(b"hello 1 -1\n")
                await until(lambda: daemon.telemetry.account("cache").received == 2)
                sent = 0
                for number, client in enumerate((one, two)):
                    lines = b"".join(b"last.c%d.m%d 1 %d\n" % (number, n, now) for n in range(3000))
                    client.setblocking(False)
                    taken = client.send(lines)
                    sent += lines[:taken].count(b"\n")
                await self.daemons.pop().service.stopService()
                self.assertEqual(daemon.telemetry.account("cache").received, 2 + sent)
                self.balanced(daemon)

        return ensureDeferred(run())
