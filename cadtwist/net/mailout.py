"""Mails of HTML over SMTP."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.mail.smtp import sendmail

from cadtwist.telemetry import Account

__all__ = ["Mailer", "message_of"]

PATIENCE_S = 60.0
"""With a host that does not take a mail."""

Post = Callable[..., Deferred[Any]]


def message_of(sender: str, to: str, subject: str, page: str) -> bytes:
    """Return a mail; line feeds in addresses and subject are errors (ValueError)."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content(page, subtype="html")
    return message.as_bytes()


class Mailer:
    """Sends mails by a host; without one their subject is logged.  `account` counts `mails` and `mails_failed`.

    The Deferreds never fail: what cannot be sent is logged and counted.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, host: str, port: int, sender: str, account: Account, post: Post = sendmail
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._sender = sender
        self._account = account
        self._post = post

    def __call__(self, to: str, subject: str, page: str) -> Deferred[Any]:
        """Send a mail."""
        if not self._host:
            self._log.info("no mail host: {subject} is not sent to {to}", subject=subject, to=to)
            self._account.count("mails_unsent")
            return succeed(None)
        try:
            message = message_of(self._sender, to, subject, page)
        except ValueError as error:
            return self._failed(error, to)
        sent = self._post(self._host, self._sender, [to], message, port=self._port, reactor=self._reactor)
        sent.addTimeout(PATIENCE_S, self._reactor)
        sent.addCallbacks(lambda _: self._account.count("mails"), lambda failure: self._failed(failure.value, to))
        return sent

    def _failed(self, why: object, to: str) -> Deferred[Any]:
        self._account.count("mails_failed")
        self._log.error("the mail to {to} cannot be sent: {why}", to=to, why=why)
        return succeed(None)
