"""The socket between a supervisor and a worker: frames of MessagePack.

Both sides speak alike: `call` asks the other for a method (by name, with one plain argument) and gives a Deferred of
its plain answer; `tell` wants no answer.  Reactor thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.errors import CadtwistError
from cadtwist.services.frames import FrameProtocol

__all__ = ["WorkerLink"]

_ANSWER = "answer"
_FAULT = "fault"


class _Message(msgspec.Struct, array_like=True, frozen=True):
    number: int
    method: str
    value: Any


class WorkerLink(FrameProtocol):
    """One end.  `methods` are what the other end may call, each with one value; they answer it or a Deferred of it.

    `gone` fires when the link has ended.
    """

    _log = Logger()

    def __init__(self, methods: dict[str, Callable[[Any], Any]]) -> None:
        super().__init__()
        self._methods = methods
        self._waiting: dict[int, Deferred[Any]] = {}
        self._numbers = 0
        self._is_gone = False
        self.gone: Deferred[None] = Deferred()

    def call(self, method: str, value: object = None) -> Deferred[Any]:
        """Ask; the Deferred fails with CadtwistError (what the other side raised) or ConnectionLost."""
        if self._is_gone or self.transport is None:
            return fail(ConnectionLost("the process is gone"))
        self._numbers += 1
        answer = self._waiting[self._numbers] = Deferred()
        self._send(_Message(self._numbers, method, value))
        return answer

    def tell(self, method: str, value: object = None) -> None:
        """Ask for something without an answer."""
        self._send(_Message(0, method, value))

    def leave(self) -> None:
        """End the link."""
        self._leave()

    def frameReceived(self, frame: bytes) -> None:
        """Take one message."""
        message = msgspec.msgpack.decode(frame, type=_Message)
        if message.method in (_ANSWER, _FAULT):
            waiting = self._waiting.pop(message.number, None)
            if waiting is not None:
                waiting.callback(message.value) if message.method == _ANSWER else waiting.errback(
                    CadtwistError(str(message.value))
                )
            return
        done = maybeDeferred(self._do, message)
        if message.number:
            done.addCallbacks(
                lambda value: self._send(_Message(message.number, _ANSWER, value)),
                lambda failure: self._send(_Message(message.number, _FAULT, failure.getErrorMessage())),
            )
        done.addErrback(lambda failure: self._log.failure("{method} failed", failure, method=message.method))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is still waited for."""
        self._is_gone = True
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.errback(ConnectionLost(str(reason.value)))
        self.gone.callback(None)

    def _do(self, message: _Message) -> Any:
        method = self._methods.get(message.method)
        if method is None:
            raise CadtwistError(f"no method {message.method}")
        return method(message.value)

    def _send(self, message: _Message) -> None:
        if not self._is_gone:
            self.send_frame(msgspec.msgpack.encode(message))
