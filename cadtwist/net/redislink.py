"""One connection to a Redis, kept up by txredisapi (the extra `redis`): commands go out, each is answered in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cadtwist.errors import StorageError

__all__ = ["RedisLink", "dial_redis"]

TIMEOUT_S = 3.0
_LATE_S = 0.5


class RedisLink:
    """Sends commands; `dial()` returns txredisapi's handler of a connection, which connects again by itself.

    Reactor thread.  A command that is not answered within `timeout_s`, or that Redis refuses, fails with StorageError;
    what Redis has done of it is then unknown.  `where` names the place in errors.
    """

    def __init__(
        self, clock: IReactorTime, where: str, dial: Callable[[], Any], timeout_s: float = TIMEOUT_S + _LATE_S
    ) -> None:
        self.where = where
        self._clock = clock
        self._dial = dial
        self._timeout_s = timeout_s
        self._handler: Any = None

    def open(self) -> None:
        """Begin to connect.  StorageError where the library is missing."""
        if self._handler is None:
            self._handler = self._dial()

    def close(self) -> Deferred[Any]:
        """Disconnect."""
        handler, self._handler = self._handler, None
        return succeed(None) if handler is None else handler.disconnect()

    def ask(self, *command: bytes) -> Deferred[Any]:
        """Return Redis's answer: bytes, a number, a list, or None."""
        try:
            self.open()
        except StorageError as error:
            return _failed(error)
        asked: Deferred[Any] = self._handler.execute_command(*command)
        asked.addTimeout(self._timeout_s, self._clock)
        return asked.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        if failure.check(NoAnswerError, CancelledError):
            why = f"no answer in {self._timeout_s:g} s"
        elif failure.check(ConnectError) or type(failure.value).__module__ == "txredisapi":
            why = failure.getErrorMessage()
        else:
            return failure
        return Failure(StorageError(f"{self.where}: {why}"))


def dial_redis(host: str, port: int, database: int, user: str, password: str) -> Callable[[], Any]:
    """Return what connects a RedisLink: answers stay bytes."""

    def dial() -> Any:
        try:
            import txredisapi  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise StorageError(f"Redis is spoken by txredisapi: install cadtwist[redis] ({error})") from None
        return txredisapi.lazyConnection(
            host, port, dbid=database or None, charset=None, password=password or None, username=user or None,
            connectTimeout=TIMEOUT_S, replyTimeout=TIMEOUT_S, convertNumbers=False,
        )  # fmt: skip

    return dial


def _failed(error: Exception) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(error)
    return failed
