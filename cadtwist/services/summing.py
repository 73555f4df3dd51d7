"""The logs of accumulators as one part of the daemon, which is there before the first accumulator is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from cadtwist.config.model import Config
from cadtwist.services.sequence import Sequence
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.services.accumulatorlogs import AccumulatorLogs
    from cadtwist.services.accumulators import Accumulator

__all__ = ["Summing"]


class Summing(Sequence):
    """Has `AccumulatorLogs` from when a configuration has accumulators: the first one, or one that a reload brings.

    `accumulators()` are those that run.  Reactor thread.
    """

    def __init__(
        self, reactor: Any, telemetry: Telemetry, config: Config, accumulators: Callable[[], Mapping[str, Accumulator]]
    ) -> None:
        super().__init__()
        self.setName("accumulators")
        self._reactor = reactor
        self._telemetry = telemetry
        self._accumulators = accumulators
        self.logs: AccumulatorLogs | None = None
        if config.accumulators:
            self._begin(config)

    def _begin(self, config: Config) -> AccumulatorLogs:
        from cadtwist.services.accumulatorlogs import AccumulatorLogs  # noqa: PLC0415 (only where lines are added up)

        self.logs = AccumulatorLogs(self._reactor, self._telemetry)
        for part in self.logs.services(config, self._accumulators):
            part.setServiceParent(self)
        return self.logs

    def join(self, config: Config, accumulators: Mapping[str, Accumulator]) -> None:
        """Give each accumulator of a reloaded configuration its log."""
        if self.logs is not None:
            self.logs.join(config, accumulators)
        elif accumulators:
            self._begin(config)

    @property
    def logged(self) -> Collection[str]:
        """The names of the accumulators of which a log has, or will have, all that is open."""
        return () if self.logs is None else self.logs.logged

    def turn_ended(self) -> None:
        """Write what the turn logged."""
        if self.logs is not None:
            self.logs.turn_ended()

    def leave(self) -> None:
        """Let the next process have what is open."""
        if self.logs is not None:
            self.logs.leave()
