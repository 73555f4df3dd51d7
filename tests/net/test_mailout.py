"""Tests of `cadtwist.net.mailout`."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.mailout import Mailer, message_of
from cadtwist.telemetry import Account


class MailTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.posted: list[tuple[Any, ...]] = []
        self.result: Any = None
        self.account = Account("mails")

    def post(self, *given: Any, **named: Any) -> Deferred[Any]:
        self.posted.append((*given, named))
        return fail(self.result) if isinstance(self.result, Exception) else succeed(self.result)

    def mailer(self, host: str = "mx") -> Mailer:
        return Mailer("reactor", host, 26, "us@example.com", self.account, self.post)

    def test_a_mail(self) -> None:
        self.successResultOf(self.mailer()("you@example.com", "Sübject", "<p>ü</p>"))
        ((host, sender, to, message, named),) = self.posted
        self.assertEqual((host, sender, to, named), ("mx", "us@example.com", ["you@example.com"],
                                                     {"port": 26, "reactor": "reactor"}))  # fmt: skip
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
