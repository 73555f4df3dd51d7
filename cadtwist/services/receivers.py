"""What listens to the connections and datagrams of each listener: its codec, its intake, its factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from cadtwist.codec.carbonpickle import PickleCodec
from cadtwist.codec.line import LineCodec
from cadtwist.codec.protobuf import ProtobufCodec
from cadtwist.codec.relayline import RelayCodec
from cadtwist.config.model import Config, Listener
from cadtwist.flow import Gate
from cadtwist.model.batch import Batch, Columns
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.carbonpickle import PickleConnection
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Codec, Intake
from cadtwist.protocols.line import LineConnection
from cadtwist.protocols.protobuf import ProtobufConnection
from cadtwist.protocols.relayline import RelayConnection
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.services.chains import Chain, Chains, reading_of, targets_of
from cadtwist.services.routers import dialect_of
from cadtwist.services.turn import Turn
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.services.statsdpart import StatsdPart

__all__ = ["Receivers", "door_name"]

Emit = Callable[[Batch], None]


def door_name(door: Listener) -> str:
    """Return what people, counters and the next process know a listener by."""
    return f"{door.protocol} {door.address}"


class Receivers:
    """Makes them, one intake for each listener; `flush` hands over what all of them hold back.  Reactor thread.

    `answers(command)` answers the commands of statsrelay on connections, where its dialect has them; `statsd` makes
    what its own doors need.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        telemetry: Telemetry,
        chains: Chains,
        gate: Gate,
        turn: Turn,
        answers: Callable[[bytes], bytes] | None = None,
        statsd: StatsdPart | None = None,
    ) -> None:
        self.bad_log = BadInputLog(reactor.seconds)
        self._reactor = reactor
        self._config = config
        self._telemetry = telemetry
        self._chains = chains
        self._gate = gate
        self._turn = turn
        self._answers = answers
        self._statsd = statsd
        self._intakes: list[tuple[Listener, Intake]] = []

    def flush(self) -> None:
        """Hand over the rows that wait in every intake."""
        for _, intake in self._intakes:
            intake.flush()
        if self._statsd is not None:
            self._statsd.flush_intakes()

    def suits(self, config: Config) -> bool:
        """Return whether what our doors read is of use to the stages of that configuration: how they read stays."""
        for door, _ in self._intakes:
            present = self._chain(door)
            space, lines = reading_of(config, targets_of(config, door))
            if space != present.space.name or (lines is None) != (present.lines is None):
                return False
        return True

    def replace_chains(self, chains: Chains) -> None:
        """Deliver to the stages of another set from now on, whose configuration `suits` us."""
        self._chains = chains
        for door, intake in self._intakes:
            chain = self._chain(door)
            intake.replace_sink(chain.first)
            if isinstance(intake.codec, RelayCodec):
                intake.codec.serve(chain.numbers, chain.arcs)

    def factory(self, door: Listener, limit: ConnectionLimit) -> Any:
        """Return the factory for the connections of a door of streams."""
        if door.protocol == "statsd" and self._statsd is not None:
            return self._statsd.factory(door, limit)
        config, intake = self._config, self._intake(door, Intake)
        if door.transport == "http":
            from cadtwist.protocols.httpingest import IngestSite  # noqa: PLC0415 (only where HTTP is spoken)

            return IngestSite(
                intake, door.path or "/", clock=self._reactor, idle_timeout_s=config.limits.idle_timeout_s
            )
        return ReceiverFactory(
            intake,
            self._connection(door),
            clock=self._reactor,
            limit=limit,
            idle_timeout_s=config.limits.idle_timeout_s,
            log_connections=config.log.connections,
            log_lost=config.log.lost_connections,
        )

    def datagrams(self, door: Listener) -> DatagramIntake:
        """Return the intake of a door of datagrams."""
        if door.protocol == "statsd" and self._statsd is not None:
            return self._statsd.datagrams(door)
        made: DatagramIntake = self._intake(door, DatagramIntake)
        return made

    def _connection(self, door: Listener) -> Any:
        limits, lines = self._config.limits, self._chain(door).lines
        if door.protocol == "pickle":
            return partial(PickleConnection, max_bytes=limits.max_pickle_bytes)
        if door.protocol == "protobuf":
            return partial(ProtobufConnection, max_bytes=limits.max_protobuf_bytes)
        if lines is None:
            return LineConnection
        return partial(RelayConnection, answers=self._answers if lines.status_commands else None)

    def _intake(self, door: Listener, kind: type[Intake]) -> Any:
        chain = self._chain(door)
        made = kind(
            door.protocol,
            self._codec(door, chain),
            sink=chain.first,
            gate=self._gate,
            account=self._telemetry.account(door_name(door)),
            bad_log=self.bad_log,
            now=self._reactor.seconds,
            begin=self._turn.begin,
            settle=self._telemetry.settle,
        )
        self._intakes.append((door, made))
        return made

    def _chain(self, door: Listener) -> Chain:
        return self._chains.chain(targets_of(self._chains.config, door))

    def _codec(self, door: Listener, chain: Chain) -> Callable[[Emit], Codec]:
        config, table, lines = self._config, chain.space.table, chain.lines
        resolution, longest = config.stages.min_resolution_s, config.limits.max_line_bytes
        if door.protocol == "pickle":
            return lambda emit: PickleCodec(table, Columns(), emit, resolution)
        if door.protocol == "protobuf":
            return lambda emit: ProtobufCodec(table, Columns(), emit, resolution)
        if lines is None:
            return lambda emit: LineCodec(table, Columns(), emit, longest, resolution)

        def relayed(emit: Emit) -> Codec:
            columns = Columns(keep_spans=True)
            codec: Any = RelayCodec(
                table, columns, emit, dialect_of(lines), longest, chain.numbers, resolution, arcs=chain.arcs
            )
            chain.space.keys.hold(codec)
            return codec  # type: ignore[no-any-return]

        return relayed
