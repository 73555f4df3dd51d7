"""The socket between the owner of names and hot points and a web process: frames of MessagePack.

A frame is a big-endian 4-byte length and that many bytes.  The owner's first frame is the greeting (the web process's
configuration).  Then the web process asks `[number, method, arguments]` and the owner answers
`[number, fault, text, value]`, in order; fault is "" for an answer.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.errors import CadtwistError
from cadtwist.query.find import Match, QueryError
from cadtwist.query.owner import IOwner, Resolution

__all__ = ["MAX_FRAME_BYTES", "FrameProtocol", "OwnerSide", "RemoteOwner"]

MAX_FRAME_BYTES = 1 << 30
_LENGTH = Layout(">I")
_REFUSED = "refused"
_METHODS = frozenset({"find", "resolve", "leaves", "report"})


class _Question(msgspec.Struct, array_like=True, frozen=True):
    number: int
    method: str
    arguments: list[Any]


class _Reply(msgspec.Struct, array_like=True, frozen=True):
    number: int
    fault: str
    text: str
    value: msgspec.Raw


class FrameProtocol(Protocol):
    """Cuts the stream into frames; one longer than MAX_FRAME_BYTES ends the connection.  Reactor thread."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._buffer += data
        start, available = 0, len(self._buffer)
        while available - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME_BYTES:
                self._buffer.clear()
                self._leave()
                return
            end = start + _LENGTH.size + length
            if end > available:
                break
            with memoryview(self._buffer) as view:
                frame = bytes(view[start + _LENGTH.size : end])
            self.frameReceived(frame)
            start = end
        del self._buffer[:start]

    def frameReceived(self, frame: bytes) -> None:
        """Take one frame."""
        raise NotImplementedError

    def send_frame(self, frame: bytes) -> None:
        """Send one frame."""
        if self.transport is not None:
            self.transport.writeSequence([_LENGTH.pack(len(frame)), frame])

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class OwnerSide(FrameProtocol):
    """Answers one web process from an IOwner that answers at once, after greeting it."""

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
        except msgspec.MsgspecError:
            self._log.error("A web process asked in frames that are none")
            self._leave()
            return
        self.send_frame(self._answer(question))

    def _answer(self, question: _Question) -> bytes:
        fault, text, value = "", "", None
        try:
            if question.method not in _METHODS:
                raise CadtwistError(f"no method {question.method}")
            value = getattr(self._owner, question.method)(*question.arguments)
        except QueryError as error:
            fault, text = _REFUSED, str(error)
        except Exception as error:  # noqa: BLE001 (told to the asker and logged: a reader must not stop the owner)
            self._log.failure("Answering {method} of a web process", method=question.method)
            fault, text = "failed", str(error)
        return msgspec.msgpack.encode((question.number, fault, text, value))


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
        return self._ask(list[list[tuple[str, int]]], "find", queries)

    def resolve(self, patterns: list[str], start: int, end: int) -> Deferred[Resolution]:
        """See IOwner."""
        return self._ask(Resolution, "resolve", patterns, start, end)

    def leaves(self, cursor: int, budget: int) -> Deferred[tuple[list[str], int]]:
        """See IOwner."""
        return self._ask(tuple[list[str], int], "leaves", cursor, budget)

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
