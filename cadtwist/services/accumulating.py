"""The accumulators of one set of chains: where their lines come from, and where what they make goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.model import Config
from cadtwist.config.relaychecks import CACHE
from cadtwist.config.relaymodel import RelayConfig
from cadtwist.interfaces import ISink
from cadtwist.services.accumulators import Accumulator, TimedFlushes
from cadtwist.services.accumulatorwriters import SummaryWriter
from cadtwist.services.routers import dialect_of
from cadtwist.services.space import GRAPHITE, SERIES, Space, space_of
from cadtwist.stages.accumulate import Blackhole, Loopback
from cadtwist.telemetry import Telemetry

__all__ = ["Accumulation", "reads_itself"]


def reads_itself(config: AccumulatorConfig, relays: Iterable[RelayConfig]) -> bool:
    """Tell whether lines are to be read anew, since some relay's codec gives no numbers that could be added up."""
    return config.input_format != "graphite" or not all(
        each.lines.format == "statsd" or (each.lines.format == "graphite" and each.lines.validate) for each in relays
    )


class Accumulation:
    """Every accumulator of a Config.  Reactor thread.

    Those of `before` whose settings are the same are borrowed from it: `adopt` makes them ours.
    """

    def __init__(
        self,
        config: Config,
        spaces: Mapping[str, Space],
        telemetry: Telemetry,
        now: Callable[[], float],
        writer_of: Callable[[AccumulatorConfig], SummaryWriter | None],
        before: Accumulation | None,
    ) -> None:
        self.accumulators: dict[str, Accumulator] = {}
        self._config = config
        self._spaces = spaces
        self._telemetry = telemetry
        self._now = now
        self._writer_of = writer_of
        self._former = {} if before is None else before.accumulators
        self._borrowed: set[str] = set()
        self._outputs: dict[str, ISink] = {}
        self._holders: list[tuple[Space, Any]] = []

    @property
    def wants_numbers(self) -> bool:
        """Whether timestamps and values of Graphite lines are taken as the relays have read them."""
        return any(not reads_itself(each, self._config.relays) for each in self._config.accumulators)

    @property
    def stages(self) -> list[TimedFlushes]:
        """What tells by time, in the order of the data's walk."""
        return [stage for accumulator in self.accumulators.values() for stage in accumulator.stages]

    def inputs(self, flushed: Mapping[str, ISink], cache: ISink | None, numbers: bool) -> dict[str, ISink]:
        """Make the accumulators; return by relay what takes the lines that come in for it.

        What they make goes to `flushed`, by relay, or to the `cache`; `numbers`: with timestamps and values.
        """
        config, sinks = self._config, dict[str, ISink]()
        relays = {relay.name: relay for relay in config.relays}
        for each in config.accumulators:
            output = self._outputs[each.name] = self._output(each, relays, flushed, cache, numbers)
            accumulator = self.accumulators[each.name] = self._accumulator(each, output)
            if reads_itself(each, config.relays):
                space = self._spaces[space_of(relays[each.relay].lines)]
                sinks[each.relay] = accumulator.reader(space, config.limits.max_line_bytes)
            else:
                sinks[each.relay] = accumulator.window
        return sinks

    def adopt(self, old: Accumulation) -> None:
        """Take over what was borrowed: nothing more is delivered into `old`."""
        for name in self._borrowed:
            del old.accumulators[name]
            self.accumulators[name].output = self._outputs[name]
        self._borrowed = set()

    def begin(self) -> None:
        """Take the place of the former ones, which have told all that they kept."""
        self._former = {}
        for accumulator in self.accumulators.values():
            accumulator.begin()

    def finish(self) -> None:
        """Tell all that is open."""
        for accumulator in self.accumulators.values():
            accumulator.finish()

    def hold(self) -> None:
        """Let the key spaces ask us before a name goes."""
        for space, holder in self._holders:
            space.keys.hold(holder)
        for accumulator in self.accumulators.values():
            accumulator.hold()

    def release(self) -> None:
        """Let the key spaces forget us, but for what is borrowed."""
        for space, holder in self._holders:
            space.keys.release(holder)
        for name, accumulator in self.accumulators.items():
            if name not in self._borrowed:
                accumulator.release()

    def _accumulator(self, config: AccumulatorConfig, output: ISink) -> Accumulator:
        former = self._former.get(config.name)
        if former is not None and former.config == config:
            self._borrowed.add(config.name)
            return former
        series, names, writer = self._spaces[SERIES], self._spaces[GRAPHITE], self._writer_of(config)
        return Accumulator(config, series, names, self._telemetry, self._now, output, writer, former)

    def _output(
        self,
        config: AccumulatorConfig,
        relays: Mapping[str, RelayConfig],
        flushed: Mapping[str, ISink],
        cache: ISink | None,
        numbers: bool,
    ) -> ISink:
        """Return what takes what an accumulator tells."""
        if config.backend == CACHE and cache is not None:
            return cache
        account = self._telemetry.account(f"accumulator {config.name} lines")
        relay = relays.get(config.backend)
        if relay is None:
            return Blackhole(account)
        space = self._spaces[space_of(relay.lines)]
        dialect = dialect_of(replace(relay.lines, strict=False, status_commands=False))
        loopback = Loopback(
            self._spaces[GRAPHITE].table, config.output_format == "statsd", space.table, dialect, numbers,
            flushed[relay.name], account, self._now,
        )  # fmt: skip
        self._holders.append((space, loopback))
        return loopback
