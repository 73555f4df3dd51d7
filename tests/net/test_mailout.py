"""Tests of `cadtwist.net.mailout`."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.mail.interfaces import IMessageDelivery
from twisted.mail.interfaces import IMessageSMTP as IMessage
from twisted.mail.smtp import SMTP, SMTPBadRcpt, SMTPFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from cadtwist.net.mailout import PATIENCE_S, Mailer, message_of
from cadtwist.telemetry import Account
from tests.services.daemons import until

reactor: Any = real_reactor


class MailTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.posted: list[tuple[Any, ...]] = []
        self.result: Any = None
        self.account = Account("mails")
        self.clock = Clock()

    def post(self, *given: Any, **named: Any) -> Deferred[Any]:
        self.posted.append((*given, named))
        if isinstance(self.result, Deferred):
            return self.result
        return fail(self.result) if isinstance(self.result, Exception) else succeed(self.result)

    def mailer(self, host: str = "mx") -> Mailer:
        return Mailer(self.clock, host, 26, "us@example.com", self.account, self.post)

    def test_a_mail(self) -> None:
        self.successResultOf(self.mailer()("you@example.com", "Sübject", "<p>ü</p>"))
        ((host, sender, to, message, named),) = self.posted
        self.assertEqual((host, sender, to, named), ("mx", "us@example.com", ["you@example.com"],
                                                     {"port": 26, "reactor": self.clock}))  # fmt: skip
        read = message_from_bytes(message)
        self.assertEqual((read["To"], read.get_content_type()), ("you@example.com", "text/html"))
        payload = read.get_payload(decode=True)
        assert isinstance(payload, bytes)
        self.assertEqual(payload.decode().strip(), "<p>ü</p>")
        self.assertEqual(self.account.counters, {"mails": 1})

    def test_without_a_host_it_is_only_counted(self) -> None:
        self.successResultOf(self.mailer("")("you@example.com", "Subject", "<p></p>"))
        self.assertEqual((self.posted, self.account.counters), ([], {"mails_unsent": 1}))

    def test_failures_are_counted_and_end_there(self) -> None:
        self.result = ConnectionRefusedError("no")
        self.successResultOf(self.mailer()("you@example.com", "Subject", "<p></p>"))
        self.successResultOf(self.mailer()("you@example.com\nBcc: all@example.com", "Subject", "<p></p>"))
        self.assertEqual((len(self.posted), self.account.counters), (1, {"mails_failed": 2}))
        self.assertRaises(ValueError, message_of, "a", "b", "c\nd", "")

    def test_a_host_that_does_not_answer_is_given_up(self) -> None:
        self.result = Deferred()
        sent = self.mailer()("you@example.com", "Subject", "<p></p>")
        self.clock.advance(PATIENCE_S - 1)
        self.assertNoResult(sent)
        self.clock.advance(1)
        self.successResultOf(sent)
        self.assertEqual(self.account.counters, {"mails_failed": 1})


@implementer(IMessage)
class Message:
    """A mail as a host takes it."""

    def __init__(self, taken: list[bytes]) -> None:
        self.lines: list[bytes] = []
        self.taken = taken

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.taken.append(b"\n".join(self.lines))
        return succeed(None)

    def connectionLost(self) -> None:
        self.taken.append(b"lost")


@implementer(IMessageDelivery)
class Delivery:
    """Takes mails to example.com."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: here"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        if user.dest.domain != b"example.com":
            raise SMTPBadRcpt(user)
        return lambda: Message(self.taken)


class HostTests(TestCase):
    """Over loopback, with Twisted's own host."""

    timeout = 60

    def test_a_mail_arrives(self) -> Any:
        async def run() -> None:
            delivery, account = Delivery(), Account("mails")
            factory = SMTPFactory()
            factory.buildProtocol = lambda _: SMTP(delivery)
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            mailer = Mailer(reactor, "127.0.0.1", port.getHost().port, "us@example.com", account)
            await mailer("you@example.com", "DaTtSs alerts", "<p>.\n.ü</p>")
            await mailer("you@elsewhere.com", "DaTtSs alerts", "<p></p>")
            (text,) = delivery.taken
            read = message_from_bytes(text)
            self.assertEqual((read["Subject"], read["To"]), ("DaTtSs alerts", "you@example.com"))
            payload = read.get_payload(decode=True)
            assert isinstance(payload, bytes)
            self.assertEqual(payload.decode().strip(), "<p>.\n.ü</p>")
            self.assertEqual(account.counters, {"mails": 1, "mails_failed": 1})
            await until(lambda: not [each for each in reactor.getReaders() if isinstance(each, Connection)])

        return ensureDeferred(run())
