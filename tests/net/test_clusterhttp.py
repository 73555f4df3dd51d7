"""Questions over HTTP: what goes out, and the bounds of what comes back."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TooLateError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from cadtwist.net.clusterhttp import HttpAsk, Question, Reply, TooLongError

URL = "http://127.0.0.1:80/render/?a=1"


class AskTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.ask = HttpAsk(self.reactor, 100, 3.0)

    def connected(self):
        """Let the last connection come about; return its protocol and transport."""
        factory = self.reactor.tcpClients[-1][2]
        protocol, transport = factory.buildProtocol(None), StringTransport()
        transport.abortConnection = transport.loseConnection
        protocol.makeConnection(transport)
        return protocol, transport

    def test_get(self):
        answer = self.ask(Question(URL, headers={"X-Token": "5"}), 6.0)
        protocol, transport = self.connected()
        sent = transport.value()
        self.assertTrue(sent.startswith(b"GET /render/?a=1 HTTP/1.1\r\n"))
        self.assertIn(b"X-Token: 5\r\n", sent)
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 4\r\n\r\nab")
        self.assertNoResult(answer)
        protocol.dataReceived(b"cd")
        self.assertEqual(self.successResultOf(answer), Reply(200, "text/x", b"abcd"))

    def test_post(self):
        answer = self.ask(Question(URL, b"\x00body", "a/b"), 6.0)
        protocol, transport = self.connected()
        self.reactor.pump([0.1, 0.1])
        sent = transport.value()
        self.assertTrue(sent.startswith(b"POST "))
        self.assertIn(b"Content-Type: a/b\r\n", sent)
        self.assertTrue(sent.endswith(b"\r\n\r\n\x00body"))
        protocol.dataReceived(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(answer), Reply(404, "", b""))

    def test_a_connection_is_used_again(self):
        first = self.ask(Question(URL), 6.0)
        protocol, _ = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.successResultOf(first)
        self.ask(Question(URL), 6.0)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_an_answer_without_length(self):
        answer = self.ask(Question(URL), 6.0)
        protocol, _ = self.connected()
        protocol.dataReceived(b"HTTP/1.0 200 OK\r\n\r\nab")
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.successResultOf(answer).body, b"ab")

    def test_a_connection_that_was_closed_meanwhile(self):
        """A question is put once more over another one, with its body; not a third time."""
        answer = self.ask(Question(URL, b"body", "a/b"), 6.0)
        protocol, _ = self.connected()
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.reactor.tcpClients), 2)
        protocol, transport = self.connected()
        self.assertTrue(transport.value().endswith(b"\r\n\r\nbody"))
        self.assertNoResult(answer)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(answer, ResponseNeverReceived)
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_half_an_answer(self):
        answer = self.ask(Question(URL), 6.0)
        protocol, _ = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        protocol.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(answer, ResponseFailed)

    def test_too_much(self):
        answer = self.ask(Question(URL), 6.0)
        protocol, transport = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b"x" * 60)
        self.assertNoResult(answer)
        protocol.dataReceived(b"x" * 60)
        self.failureResultOf(answer, TooLongError)
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(b"x" * 60)

    def test_too_late(self):
        """The time is that of the whole answer."""
        answer = self.ask(Question(URL), 6.0)
        protocol, transport = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nx")
        self.reactor.advance(5.9)
        self.assertNoResult(answer)
        self.reactor.advance(0.2)
        self.failureResultOf(answer, TooLateError)
        self.assertTrue(transport.disconnecting)

    def test_leaving(self):
        answer = self.ask(Question(URL), 6.0)
        protocol, transport = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nx")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertTrue(transport.disconnecting)

    def test_before_there_is_an_answer(self):
        """Neither time nor leaving looks like a lost connection."""
        for wait_s, error in ((6.1, TooLateError), (0, CancelledError)):
            answer = self.ask(Question(URL), 6.0)
            protocol, transport = self.connected()
            self.reactor.advance(wait_s)
            if not wait_s:
                answer.cancel()
            protocol.connectionLost(Failure(ConnectionLost()))
            self.failureResultOf(answer, error)
            self.assertTrue(transport.disconnecting)

    def test_close(self):
        first = self.ask(Question(URL), 6.0)
        protocol, transport = self.connected()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.successResultOf(first)
        closed = self.ask.close()
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(closed)
