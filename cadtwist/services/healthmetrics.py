"""statsrelay's counters as statsd lines, through a group of their own, to destinations of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from cadtwist.codec.relayline import Dialect, RelayCodec
from cadtwist.config.relaymodel import HealthMetricsConfig
from cadtwist.interfaces import ISink
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns
from cadtwist.services.space import Space
from cadtwist.telemetry import Account

__all__ = ["HealthMetrics"]


class HealthMetrics(Service):
    """Tells `lines()` for the first time `config().first_s` after the start, then every `config().interval_s`.

    They are read as `dialect` reads lines, into the names of `space`, and go to `sink()`, the stage in force of their
    group.  Reactor thread.
    """

    name = "health metrics"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Callable[[], HealthMetricsConfig],
        lines: Callable[[], Iterable[bytes]],
        dialect: Dialect,
        space: Space,
        sink: Callable[[], ISink],
        account: Account,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._lines = lines
        self._space = space
        self._sink = sink
        self._account = account
        self._call: IDelayedCall | None = None
        self._codec: Any = RelayCodec(space.table, Columns(keep_spans=True), self._pass_on, dialect)

    def startService(self) -> None:
        """Begin to tell."""
        super().startService()
        self._space.keys.hold(self._codec)
        self._call = self._reactor.callLater(self._config().first_s, self._due)

    def stopService(self) -> None:
        """Tell no more."""
        super().stopService()
        self._space.keys.release(self._codec)
        if self._call is not None and self._call.active():
            self._call.cancel()

    def tell(self) -> None:
        """Send the counters as they are now."""
        lines = list(self._lines())
        self._account.made += len(lines)
        self._codec.datagram(b"\n".join(lines) + b"\n", self._reactor.seconds(), self._refused)
        self._codec.flush()

    def _due(self) -> None:
        self._call = self._reactor.callLater(self._config().interval_s, self._due)
        try:
            self.tell()
        except Exception:  # noqa: BLE001 (one failure must not end a timer)
            self._log.failure("telling health metrics failed")

    def _pass_on(self, batch: Batch) -> None:
        self._account.out += len(batch)
        self._sink().accept(batch)

    def _refused(self, bad: BadInput, lines: int) -> None:
        self._account.drop(f"bad.{bad.kind}", lines)
