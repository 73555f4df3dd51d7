"""Another shard as it is asked over HTTP: in time, and not again at once when it did not answer."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cadtwist.errors import CadtwistError
from cadtwist.model.shard import Shard
from cadtwist.net.clusterhttp import Ask, Question, Reply
from cadtwist.telemetry import Account

__all__ = ["ShardAwayError", "ShardNode"]

LONGEST_REST_S = 30.0
_FAULT = 500


class ShardAwayError(CadtwistError):
    """A shard does not answer."""


class ShardNode:
    """Asks one shard.  After n failures in a row nobody waits for it for 2^(n-1) seconds, at most 30.

    `headers` go with every question.  `account` counts `answers`, `failures` and `skipped`.  Reactor thread.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        shard: Shard,
        ask: Ask,
        timeout_s: float,
        account: Account,
        headers: Mapping[str, str],
    ) -> None:
        self.shard = shard
        self._clock = clock
        self._ask = ask
        self._timeout_s = timeout_s
        self._account = account
        self._headers = headers
        self._failures = 0
        self._rests_until = 0.0
        account.gauge("resting", lambda: float(self.resting))

    @property
    def resting(self) -> bool:
        """Whether it is left alone now."""
        return self._clock.seconds() < self._rests_until

    async def ask(self, target: str, body: bytes | None = None, kind: str = "application/json") -> Reply:
        """Return the answer, of any status below 500; ShardAwayError where there is none in time."""
        if self.resting:
            self._account.count("skipped")
            raise ShardAwayError(f"shard {self.shard.name} does not answer")
        question = Question(self.shard.url + target, body, kind if body is not None else "", self._headers)
        try:
            reply = await self._ask(question, self._timeout_s)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever goes wrong on the way means: no answer)
            self._failed(str(error) or type(error).__name__)
            raise ShardAwayError(f"shard {self.shard.name} does not answer") from None
        if reply.status >= _FAULT:
            self._failed(f"it answers {reply.status}")
            raise ShardAwayError(f"shard {self.shard.name} does not answer")
        if self._failures:
            self._log.info("shard {name} answers again", name=self.shard.name)
        self._failures = 0
        self._account.count("answers")
        return reply

    def spoilt(self, why: str) -> ShardAwayError:
        """Take an answer that cannot be read for none; return the error to raise."""
        self._failed(why)
        return ShardAwayError(f"shard {self.shard.name} does not answer")

    def _failed(self, why: str) -> None:
        self._account.count("failures")
        if not self._failures:
            self._log.warn("shard {name} at {url}: {why}", name=self.shard.name, url=self.shard.url, why=why)
        self._failures += 1
        rest_s = min(2.0 ** min(self._failures - 1, 10), LONGEST_REST_S)
        self._rests_until = self._clock.seconds() + rest_s
