"""The socket between the owner of names and hot points and a web process: frames of MessagePack.

The owner's first frame is the greeting (the web process's configuration).  Then the web process asks
`[number, method, arguments]` and the owner answers `[number, fault, text, value]`, in order unless it takes longer;
fault is "" for an answer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.errors import CadtwistError
from cadtwist.query.find import Found, Match, QueryError, at_once, matched
from cadtwist.query.owner import IOwner, Resolution
from cadtwist.services.frames import FrameProtocol

__all__ = ["OwnerSide", "RemoteOwner"]

_REFUSED = "refused"
_METHODS = frozenset({"found", "resolve", "leaves", "catalog", "report"})


class _Question(msgspec.Struct, array_like=True, frozen=True):
    number: int
    method: str
    arguments: list[Any]


class _Reply(msgspec.Struct, array_like=True, frozen=True):
    number: int
    fault: str
    text: str
    value: msgspec.Raw


class OwnerSide(FrameProtocol):
    """Answers one web process from a LocalOwner, after greeting it; what takes longer is answered later."""

    def __init__(self, owner: Any, greeting: bytes) -> None:
        super().__init__()
        self._owner = owner
        self._greeting = greeting
        self._log = Logger()

    def connectionMade(self) -> None:
        """Greet."""
        self.send_frame(self._greeting)

    def frameReceived(self, frame: bytes) -> None:
        """Answer a question; a peer that does not speak our language is left."""
        try:
            question = msgspec.msgpack.decode(frame, type=_Question)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._log.error("A web process asked in frames that are none")
            self._leave()
            return
        answer: Deferred[Any] = maybeDeferred(self._ask, question)
        answer.addCallback(lambda value: msgspec.msgpack.encode((question.number, "", "", value)))
        answer.addErrback(self._fault, question)
        answer.addCallback(self.send_frame)

    def _ask(self, question: _Question) -> Any:
        if question.method not in _METHODS:
            raise CadtwistError(f"no method {question.method}")
        return getattr(self._owner, question.method)(*question.arguments)

    def _fault(self, failure: Failure, question: _Question) -> bytes:
        """Tell the asker, and log what is no refusal: a reader must not stop the owner."""
        refused = failure.check(QueryError) is not None
        if not refused:
            self._log.failure("Answering {method} of a web process", failure, method=question.method)
        return msgspec.msgpack.encode((question.number, _REFUSED if refused else "failed", str(failure.value), None))


@implementer(IOwner)
class RemoteOwner(FrameProtocol):
    """The owner, seen from a web process: each method returns a Deferred.

    `greeted` fires once with the greeting, `gone` once when the connection ends.  An answer that does not come within
    `patience_s` seconds of `clock` (None: endless) fails with ConnectionLost.
    """

    def __init__(self, clock: Any = None) -> None:
        super().__init__()
        self.patience_s: float | None = None
        self._clock = clock
        self.greeted: Deferred[bytes] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._is_greeted = False
        self._is_gone = False
        self._numbers = 0
        self._waiting: dict[int, tuple[Deferred[Any], Any]] = {}

    def find(self, queries: list[str]) -> Deferred[list[list[Match]]]:
        """See IOwner."""
        asked: Deferred[Any] = self._ask(list[Found], "found", queries)
        return asked.addCallback(lambda results: [at_once(matched(found)) for found in results])

    def resolve(self, patterns: list[str], start: int, end: int) -> Deferred[Resolution]:
        """See IOwner."""
        return self._ask(Resolution, "resolve", patterns, start, end)

    def leaves(self, cursor: int, budget: int) -> Deferred[tuple[list[str], int]]:
        """See IOwner."""
        return self._ask(tuple[list[str], int], "leaves", cursor, budget)

    def catalog(self, question: str, arguments: list[Any]) -> Deferred[Any]:
        """See IOwner."""
        return self._ask(Any, "catalog", question, arguments)

    def report(self, topic: str) -> Deferred[Any]:
        """See IOwner."""
        return self._ask(Any, "report", topic)

    def _ask(self, kind: Any, method: str, *arguments: object) -> Deferred[Any]:
        if self._is_gone:
            return fail(ConnectionLost("the owner is gone"))
        self._numbers += 1
        number = self._numbers
        answer: Deferred[Any] = Deferred()
        if self.patience_s is not None and self._clock is not None:
            late = ConnectionLost(f"no answer from the owner of the names within {self.patience_s:g} s")
            answer.addTimeout(self.patience_s, self._clock, lambda _failure, _s: self._give_up(number, late))
        self._waiting[self._numbers] = (answer, kind)
        self.send_frame(msgspec.msgpack.encode((self._numbers, method, arguments)))
        return answer

    def _give_up(self, number: int, late: ConnectionLost) -> Failure:
        self._waiting.pop(number, None)
        return Failure(late)

    def frameReceived(self, frame: bytes) -> None:
        """Give an answer to who asked; one who cancelled is not told."""
        if not self._is_greeted:
            self._is_greeted = True
            self.greeted.callback(frame)
            return
        reply = msgspec.msgpack.decode(frame, type=_Reply)
        waiting = self._waiting.pop(reply.number, None)
        if waiting is None or waiting[0].called:
            return
        answer, kind = waiting
        if reply.fault:
            answer.errback(QueryError(reply.text) if reply.fault == _REFUSED else CadtwistError(reply.text))
        else:
            answer.callback(msgspec.msgpack.decode(reply.value, type=kind))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is still waited for."""
        self._is_gone = True
        waiting, self._waiting = self._waiting, {}
        for answer, _ in waiting.values():
            if not answer.called:
                answer.errback(ConnectionLost(str(reason.value)))
        self.gone.callback(None)
