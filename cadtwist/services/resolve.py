"""The socket between the owner of names and hot points and a web process: frames of MessagePack.

The owner's first frame is the greeting (the web process's configuration).  Then the web process asks
`[number, method, arguments]` and the owner answers `[number, fault, text, value]`, in order unless it takes longer;
fault is "" for an answer; number 0 with the fault "end" asks the process to answer what it was asked, and then to say
"ended".  Of an answer that is large the owner sends pieces before, as they are made, so that neither
a turn nor its memory is taken by the whole: their fault is "more".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.errors import CadtwistError
from cadtwist.net.directsocket import DirectSocket
from cadtwist.query.find import Found, Match, QueryError, at_once, matched
from cadtwist.query.near import NearPoints
from cadtwist.query.owner import IOwner
from cadtwist.query.quiet import QuietAnswers
from cadtwist.query.resolution import Piece, Resolution, assembled
from cadtwist.services.frames import FrameProtocol

__all__ = ["OwnerSide", "RemoteOwner"]

_REFUSED = "refused"
_MORE = "more"
_END = "end"
_ENDED = "ended"
_AT_ONCE_S = 0.001
_MOST_SKIPPED = 64
_METHODS = frozenset({"found", "pieces", "leaves", "catalog", "report", "tell"})


class _Question(msgspec.Struct, array_like=True, frozen=True):
    number: int
    method: str
    arguments: list[Any]


class _Reply(msgspec.Struct, array_like=True, frozen=True):
    number: int
    fault: str
    text: str
    value: msgspec.Raw


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(_Question).decode
_reply = msgspec.msgpack.Decoder(_Reply).decode
_Told = tuple[list[Piece], bool]
_piece = msgspec.msgpack.Decoder(Piece).decode
_founds = msgspec.msgpack.Decoder(list[Found]).decode
_told = msgspec.msgpack.Decoder(_Told).decode
_slice = msgspec.msgpack.Decoder(tuple[list[str], int]).decode
_anything = msgspec.msgpack.Decoder().decode


class _Telling:
    """Gathers the pieces of an answer to question `number`; those of one that takes longer go to `send` one by one."""

    def __init__(self, number: int, send: Callable[[bytes], object]) -> None:
        self._number = number
        self._send = send
        self._pieces: list[Piece] = []
        self._is_late = False

    def take(self, piece: Piece) -> None:
        """Take a piece."""
        if self._is_late:
            self._send(_encode((self._number, _MORE, "", piece)))
        else:
            self._pieces.append(piece)

    def late(self) -> None:
        """Send what there is, and what comes."""
        self._is_late = True
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            self.take(piece)

    def told(self, quiet: bool) -> tuple[list[Piece], bool]:
        """Return the answer without what was sent."""
        return self._pieces, quiet


class OwnerSide(FrameProtocol):
    """Answers one web process from a LocalOwner, after greeting it; what takes longer is answered later."""

    def __init__(self, owner: Any, greeting: bytes) -> None:
        super().__init__()
        self._owner = owner
        self._greeting = greeting
        self._log = Logger()
        self._ended: list[Deferred[None]] = []
        self._is_gone = False

    def connectionMade(self) -> None:
        """Greet."""
        self.send_frame(self._greeting)

    def end(self) -> Deferred[None]:
        """Ask the web process to take no more requests; fires when it has answered all, or is gone."""
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        if self._is_gone or self.transport is None:
            self._has_ended()
        else:
            self.send_frame(_encode((0, _END, "", None)))
        return ended

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait for nothing any more."""
        super().connectionLost(reason)
        self._is_gone = True
        self._has_ended()

    def _has_ended(self) -> None:
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)

    def frameReceived(self, frame: bytes) -> None:
        """Answer a question; a peer that does not speak our language is left."""
        try:
            question = _question(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._log.error("A web process asked in frames that are none")
            self._leave()
            return
        try:
            value = self._ask(question)
        except Exception:  # noqa: BLE001 (whatever it is, it is told)
            self.send_frame(self._fault(Failure(), question))
            return
        if isinstance(value, Deferred):
            value.addCallback(lambda value: _encode((question.number, "", "", value)))
            value.addErrback(self._fault, question)
            value.addCallback(self.send_frame)
        else:
            self.send_frame(_encode((question.number, "", "", value)))

    def _ask(self, question: _Question) -> Any:
        if question.method == _ENDED:
            self._has_ended()
            return None
        if question.method not in _METHODS:
            raise CadtwistError(f"no method {question.method}")
        if question.method != "pieces":
            return getattr(self._owner, question.method)(*question.arguments)
        telling = _Telling(question.number, self.send_frame)
        quiet = self._owner.pieces(*question.arguments, telling.take)
        if not isinstance(quiet, Deferred):
            return telling.told(quiet)
        telling.late()
        return quiet.addCallback(telling.told)

    def _fault(self, failure: Failure, question: _Question) -> bytes:
        """Tell the asker, and log what is no refusal: a reader must not stop the owner."""
        refused = failure.check(QueryError) is not None
        if not refused:
            self._log.failure("Answering {method} of a web process", failure, method=question.method)
        return msgspec.msgpack.encode((question.number, _REFUSED if refused else "failed", str(failure.value), None))


class _Waiting:
    """A question whose answer is waited for: by a Deferred, or by who asked as long as there is none."""

    __slots__ = ("answer", "decode", "fault", "is_answered", "pieces", "value")

    def __init__(self, decode: Callable[[msgspec.Raw], Any]) -> None:
        self.decode = decode
        self.pieces: list[Piece] = []
        self.answer: Deferred[Any] | None = None
        self.is_answered = False
        self.value: Any = None
        self.fault: Exception | None = None

    def take(self, value: Any, fault: Exception | None) -> None:
        """Take the answer, or the fault in its place; one who cancelled is not told."""
        self.is_answered, self.value, self.fault = True, value, fault
        if self.answer is None or self.answer.called:
            return
        if fault is None:
            self.answer.callback(value)
        else:
            self.answer.errback(fault)


@implementer(IOwner)
class RemoteOwner(FrameProtocol):
    """The owner, seen from a web process: each method returns its value, or a Deferred where that takes longer.

    Over a `DirectSocket` an answer is waited for for up to a millisecond, as that is cheaper than to come back for it
    in a later turn of the reactor; where the owner turned out to be busy, not for the next questions.

    `changes` are the owner's counts of names that came and went, of datapoints that came and of ids that got or lost a
    metric, in memory that both share; with `near`, whose points are shared as well, only what they cannot tell is
    asked.
    `end()` is called when no more requests are wanted here; what it returns fires when all are answered.
    `greeted` fires once with the greeting, `gone` once when the connection ends.  An answer that does not come within
    `patience_s` seconds of `clock` (None: endless) fails with ConnectionLost.
    """

    def __init__(self, clock: Any = None) -> None:
        super().__init__()
        self.patience_s: float | None = None
        self.changes: npt.NDArray[np.uint64] | None = None
        self.near: NearPoints | None = None
        self._clock = clock
        self.end: Callable[[], Deferred[Any]] = lambda: succeed(None)
        self.greeted: Deferred[bytes] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._is_greeted = False
        self._is_gone = False
        self._numbers = 0
        self._waiting: dict[int, _Waiting] = {}
        self._quiet = QuietAnswers()
        self._late = 0
        self._skipped = 0

    def find(self, queries: list[str]) -> Any:
        """See IOwner."""
        found = self.found(queries)
        if isinstance(found, Deferred):
            return found.addCallback(_all_matched)
        return _all_matched(found)

    def found(self, queries: list[str]) -> Any:
        """See IOwner."""
        return self._ask(_founds, "found", queries)

    def resolve(self, patterns: list[str], start: int, end: int) -> Any:
        """See IOwner; while no name and no datapoint comes, what was answered is remembered."""
        if self.changes is None:
            return self._resolved(patterns, start, end)
        version = int(self.changes[0]), int(self.changes[1])
        known = self._quiet.get(patterns, version)
        if known is not None:
            return known
        answer = self._seen(patterns, start, end)
        if answer is None:
            answer = self._resolved(patterns, start, end)
        if isinstance(answer, Deferred):
            return answer
        return self._quiet.put(patterns, version, answer)

    def _seen(self, patterns: list[str], start: int, end: int) -> Resolution | None:
        """Return the answer if it can be had without asking: names and numbers must be the same before and after."""
        if self.near is None:
            return None
        version = self._numbering()
        answer = self.near.resolve(patterns, version, start, end)
        return answer if version == self._numbering() else None

    def _numbering(self) -> tuple[int, int] | None:
        return None if self.changes is None else (int(self.changes[0]), int(self.changes[2]))

    def _resolved(self, patterns: list[str], start: int, end: int) -> Any:
        version = self._numbering()

        def learnt(answer: _Told) -> Resolution:
            if self.near is not None and version == self._numbering():
                self.near.learn(patterns, version, answer[0])
            return assembled(len(patterns), *answer)

        answer = self._ask(_told, "pieces", patterns, start, end)
        return answer.addCallback(learnt) if isinstance(answer, Deferred) else learnt(answer)

    def leaves(self, cursor: int, budget: int) -> Any:
        """See IOwner."""
        return self._ask(_slice, "leaves", cursor, budget)

    def names_version(self) -> int | None:
        """See IOwner."""
        return None if self.changes is None else int(self.changes[0])

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner."""
        return self._ask(_anything, "catalog", question, arguments)

    def tell(self, counts: dict[str, int]) -> Any:
        """See IOwner."""
        return self._ask(_anything, "tell", counts)

    def report(self, topic: str) -> Any:
        """See IOwner."""
        return self._ask(_anything, "report", topic)

    def _ask(self, decode: Callable[[msgspec.Raw], Any], method: str, *arguments: object) -> Any:
        if self._is_gone:
            return fail(ConnectionLost("the owner is gone"))
        self._numbers += 1
        number = self._numbers
        waiting = self._waiting[number] = _Waiting(decode)
        self.send_frame(_encode((number, method, arguments)))
        link: Any = self.transport
        if isinstance(link, DirectSocket) and len(self._waiting) == 1:
            self._wait(link, waiting)
        if waiting.is_answered:
            if waiting.fault is not None:
                raise waiting.fault
            return waiting.value
        answer: Deferred[Any] = Deferred()
        waiting.answer = answer
        if self.patience_s is not None and self._clock is not None:
            late = ConnectionLost(f"no answer from the owner of the names within {self.patience_s:g} s")
            answer.addTimeout(self.patience_s, self._clock, lambda _failure, _s: self._give_up(number, late))
        return answer

    def _wait(self, link: DirectSocket, waiting: _Waiting) -> None:
        """Wait a moment for the answer; after each time in vain, let twice as many questions go without that."""
        if self._skipped < self._late:
            self._skipped += 1
            return
        self._skipped = 0
        while not waiting.is_answered and link.wait(_AT_ONCE_S):
            pass
        self._late = 0 if waiting.is_answered else min(2 * self._late + 1, _MOST_SKIPPED)

    def _give_up(self, number: int, late: ConnectionLost) -> Failure:
        self._waiting.pop(number, None)
        return Failure(late)

    def frameReceived(self, frame: bytes) -> None:
        """Give an answer to who asked."""
        if not self._is_greeted:
            self._is_greeted = True
            self.greeted.callback(frame)
            return
        reply = _reply(frame)
        if reply.fault == _END:
            self.end().addBoth(lambda _: self._ask(_anything, _ENDED)).addErrback(lambda _: None)
            return
        waiting = self._waiting.get(reply.number)
        if waiting is None:
            return
        if reply.fault == _MORE:
            waiting.pieces.append(_piece(reply.value))
            return
        del self._waiting[reply.number]
        if reply.fault:
            waiting.take(None, QueryError(reply.text) if reply.fault == _REFUSED else CadtwistError(reply.text))
            return
        value = waiting.decode(reply.value)
        if waiting.pieces:
            value = [*waiting.pieces, *value[0]], value[1]
        waiting.take(value, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is still waited for."""
        self._is_gone = True
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            one.take(None, ConnectionLost(str(reason.value)))
        self.gone.callback(None)


def _all_matched(results: list[Found]) -> list[list[Match]]:
    return [at_once(matched(found)) for found in results]
