"""Lines to be relayed, over a stream; statsrelay's commands are answered on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from cadtwist.codec.relayline import RelayTail
from cadtwist.protocols.factory import READ_BYTES, Connection
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.lastanswers import LastAnswers

__all__ = ["MAX_STATUS_BYTES", "DestinationStatus", "GroupStatus", "RelayConnection", "RelayStatus", "shards_reply"]

MAX_STATUS_BYTES = 65536
"""What no longer fits into an answer to `status` is left out, line by line."""


@implementer(IPushProducer)
class RelayConnection(LastAnswers, Connection):
    """A stream of lines for a RelayCodec; a bad one closes it only where the codec's dialect is strict.

    `answers(command)` gives the answer to a command of the dialect.  A client that lets answers pile up is closed.
    """

    state: RelayTail

    def __init__(self, intake: Intake, answers: Callable[[bytes], bytes] | None = None) -> None:
        super().__init__(intake)
        self._answers = answers
        self.state = RelayTail(None if answers is None else self._answer)

    @property
    def broken(self) -> bool:
        """Whether a bad line ended the stream."""
        return self.state.broken

    def connectionMade(self) -> None:
        """Begin; hear of answers that nobody reads."""
        super().connectionMade()
        if self._answers is not None:
            self._wire().registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The client does not read what it asked for: end."""
        self.state.broken = True
        self._intake.account.count("answers_unread")
        self._wire().abortConnection()

    def resumeProducing(self) -> None:
        """The client has read."""

    def stopProducing(self) -> None:
        """The connection is gone."""

    def _answer(self, command: bytes) -> None:
        if self._answers is not None and not self.state.broken:
            self._intake.account.count("commands")
            # what may be read in one go also bounds, in Twisted, what may wait to be written
            self.read_at_most(READ_BYTES)
            self._wire().write(self._answers(command))
            if not self._intake.gate.open:
                self.read_at_most(1)

    def _wire(self) -> Any:
        return self.transport


@dataclass(frozen=True)
class GroupStatus:
    """Lines of one group since the start, by what became of them."""

    filtered: int = 0
    flagged: int = 0
    relayed: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class DestinationStatus:
    """One destination since the start; `queued_bytes` counts lines as they came, refused ones as well."""

    key: str
    queued_bytes: int = 0
    sent_bytes: int = 0
    relayed: int = 0
    dropped: int = 0
    failing: bool = False


@dataclass(frozen=True)
class RelayStatus:
    """What statsrelay tells of itself; `invalid_recent` is since the last flush of health metrics."""

    udp_bytes: int = 0
    tcp_bytes: int = 0
    connections: int = 0
    malformed: int = 0
    invalid_recent: int = 0
    invalid: int = 0
    groups: Sequence[GroupStatus] = ()
    destinations: Sequence[DestinationStatus] = ()

    def reply(self) -> bytes:
        """Return the answer to `status`: one counter a line, an empty line at the end."""
        said: list[str] = []
        room = MAX_STATUS_BYTES - 1
        for line in self._lines():
            if len(line) + 1 > room:
                break
            room -= len(line) + 1
            said.append(line + "\n")
        return "".join([*said, "\n"]).encode("utf-8", "replace")

    def health_lines(self, keys: Sequence[str]) -> list[bytes]:
        """Return what is told as statsd lines; `keys` are the destinations as they are called there.

        A counter that is told as one is left out at 0.  `total_connections` comes twice, as in the original.
        """
        lines = [
            f"global.bytes_recv_tcp:{self.tcp_bytes}|g",
            f"global.total_connections:{self.connections}|g",
            f"global.bytes_recv_udp:{self.udp_bytes}|g",
            f"global.total_connections:{self.connections}|g",
            "global.last_reload.timestamp:0|g",
            f"global.malformed_lines:{self.malformed}|g",
            *([f"global.invalid_lines:{self.invalid_recent}|c"] if self.invalid_recent > 0 else []),
            f"global.invalid_lines_monotonic:{self.invalid}|g",
        ]
        for number, group in enumerate(self.groups):
            lines += [
                *([f"group_{number}.flagged_lines:{group.flagged}|g"] if group.flagged > 0 else []),
                f"group_{number}.filtered_lines:{group.filtered}|g",
                f"group_{number}.relayed_lines:{group.relayed}|g",
                f"group_{number}.rejected_lines:{group.rejected}|g",
            ]
        for key, each in zip(keys, self.destinations, strict=True):
            lines += [
                f"backend_{key}.bytes_queued:{each.queued_bytes}|g",
                f"backend_{key}.bytes_sent:{each.sent_bytes}|g",
                f"backend_{key}.relayed_lines:{each.relayed}|g",
                f"backend_{key}.dropped_lines:{each.dropped}|g",
                f"backend_{key}.failing.boolean:{int(each.failing)}|c",
            ]
        return [line.encode("utf-8", "replace") for line in lines]

    def _lines(self) -> list[str]:
        lines = [
            f"global bytes_recv_udp gauge {self.udp_bytes}",
            f"global bytes_recv_tcp gauge {self.tcp_bytes}",
            f"global total_connections gauge {self.connections}",
            "global last_reload timestamp 0",
            f"global malformed_lines gauge {self.malformed}",
            f"global invalid_lines counter {self.invalid_recent}",
            f"global invalid_lines gauge {self.invalid}",
        ]
        for number, group in enumerate(self.groups):
            lines += [
                f"group:{number} filtered_lines gauge {group.filtered}",
                f"group:{number} flagged_lines gauge {group.flagged}",
                f"group:{number} relayed_lines gauge {group.relayed}",
                f"group:{number} rejected_lines gauge {group.rejected}",
            ]
        for each in self.destinations:
            lines += [
                f"backend:{each.key} bytes_queued gauge {each.queued_bytes}",
                f"backend:{each.key} bytes_sent gauge {each.sent_bytes}",
                f"backend:{each.key} relayed_lines gauge {each.relayed}",
                f"backend:{each.key} dropped_lines gauge {each.dropped}",
                f"backend:{each.key} failing boolean {int(each.failing)}",
            ]
        return lines


def shards_reply(groups: Sequence[Sequence[str]]) -> bytes:
    """Return the answer to `shards`: the destination of each virtual shard, groups apart by an empty line."""
    return "\n".join("".join(f"{key}\n" for key in shards) for shards in groups).encode("utf-8", "replace")
