"""Tests of `cadtwist.client.blocking`."""

from __future__ import annotations

import socket
import threading

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.client.blocking import BlockingClient, ask_over
from tests.client.fakes import AUTH, SETTINGS, FakeServer


class BlockingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer()
        self.clock = Clock()
        self.client = BlockingClient(SETTINGS, self.server.ask, self.clock.seconds)

    def test_sends_when_a_period_is_over(self) -> None:
        self.client.agg("a", "1c")
        self.clock.advance(4.9)
        self.client.agg("a", "2c")
        self.assertEqual(self.server.puts, [])
        self.clock.advance(0.1)
        self.client.agg("a", "3c")
        self.assertEqual((len(self.server.puts), self.server.total()), (1, 6))

    def test_the_end_sends_the_rest(self) -> None:
        with self.client as client:
            client.agg("a", "1c")
        self.assertEqual(self.server.total(), 1)

    def test_a_dead_server(self) -> None:
        """Nothing is lost, nothing raised, and it is asked once in a period."""
        self.server.away = ConnectionRefusedError("nobody there")
        for _ in range(100):
            self.client.agg("a", "1c")
            self.clock.advance(1)
        self.assertEqual(self.client.core.failures, 19)
        self.server.away = None
        self.server.status = 500
        self.assertFalse(self.client.push())
        self.server.status = 200
        self.assertTrue(self.client.push())
        self.assertEqual((self.server.total(), len(self.server.puts), self.client.core.lost), (100, 1, 0))

    def test_single_values(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(30)
            where = replace(SETTINGS, udp_host="127.0.0.1", udp_port=receiver.getsockname()[1])
            client = BlockingClient(where, self.server.ask, self.clock.seconds)
            self.assertTrue(client.agg("a", "5ms", udp=True))
            self.assertFalse(client.agg("a", "5", udp=True))
            self.assertEqual(receiver.recv(100), f"{AUTH}:web:a:5ms".encode())
            client.close()


class AskTests(SynchronousTestCase):
    """Over a real socket of a server that says what the test says."""

    def answered(self, answer: bytes) -> tuple[object, bytes]:
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.settimeout(30)
            got = bytearray()

            def serve() -> None:
                connection, _ = door.accept()
                with connection:
                    connection.settimeout(30)
                    while not got.endswith(b"body"):
                        got.extend(connection.recv(4096))
                    connection.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            ask = ask_over(replace(SETTINGS, http_host="127.0.0.1", http_port=door.getsockname()[1]))
            try:
                found: object = ask("/agg?auth=x", b"body", 30)
            except OSError as error:
                found = error
            thread.join()
        return found, bytes(got)

    def test_an_answer(self) -> None:
        found, got = self.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        self.assertEqual(found, (200, b"{}"))
        self.assertTrue(got.startswith(b"PUT /agg?auth=x HTTP/1.1\r\n"))
        self.assertIn(b"Content-Type: application/json\r\n", got)

    def test_what_is_no_answer(self) -> None:
        for answer in (b"", b"garbage\r\n\r\n"):
            found, _ = self.answered(answer)
            self.assertIsInstance(found, ConnectionResetError, str(answer))

    def test_nobody_there(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            ask = ask_over(replace(SETTINGS, http_host="127.0.0.1", http_port=taken.getsockname()[1]))
            self.assertRaises(ConnectionRefusedError, ask, "/agg", b"", 30)
