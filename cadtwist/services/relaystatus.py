"""What statsrelay's clients ask on the line port (`status`, `shards`), read off the parts of a running relay."""

from __future__ import annotations

from collections.abc import Sequence

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import GroupConfig, RelayConfig
from cadtwist.net.destination import Destination
from cadtwist.protocols.relayline import DestinationStatus, GroupStatus, RelayStatus, shards_reply
from cadtwist.routing.stage import RouterStage
from cadtwist.services.receivers import door_name
from cadtwist.telemetry import Account, Telemetry

__all__ = ["StatusAnswers"]

_WITHOUT_KEY = ("name", "fields", "empty")
_BAD = "bad."

Stages = Sequence[tuple[GroupConfig, RouterStage, Account]]


class StatusAnswers:
    """Answers for the relay `relay`.  Reactor thread.

    `stages` are those of its groups in order; `destinations` by name.  Destinations of health metrics are not told.
    """

    def __init__(self, config: Config, relay: RelayConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._relay = relay
        self._telemetry = telemetry
        self._told_invalid = 0

    def answer(self, command: bytes, stages: Stages, destinations: dict[str, Destination]) -> bytes:
        """Return the answer to `status` or `shards`."""
        if command == b"shards":
            return shards_reply([group.members for group, _, _ in stages])
        return self.status(stages, destinations).reply()

    def status(self, stages: Stages, destinations: dict[str, Destination]) -> RelayStatus:
        """Return all counters since the start."""
        streams, datagrams = self._accounts(udp=False), self._accounts(udp=True)
        everywhere = [*streams, *datagrams]
        malformed, invalid = self._refused(everywhere)
        return RelayStatus(
            udp_bytes=_sum(datagrams, "bytes"),
            tcp_bytes=_sum(streams, "bytes"),
            connections=_sum(streams, "connections"),
            malformed=malformed,
            invalid_recent=invalid - self._told_invalid,
            invalid=invalid,
            groups=[_group(account, self._flood(account)) for _, _, account in stages],
            destinations=_destinations(stages, destinations),
        )

    def _flood(self, router: Account) -> Account | None:
        """Return the account of the flood control before a group's router, None where there is none."""
        return self._telemetry.accounts.get("flood" + router.name.removeprefix("router"))

    def health_told(self) -> None:
        """Count invalid lines anew: they have been told as health metrics."""
        self._told_invalid = self._refused([*self._accounts(udp=False), *self._accounts(udp=True)])[1]

    def _accounts(self, udp: bool) -> list[Account]:
        doors = [door for door in self._config.listeners if door.protocol == "line"]
        first = self._config.relays[0].name if self._config.relays else ""
        mine = [door for door in doors if self._relay.name in (door.to or (first,))]
        return [self._telemetry.account(door_name(door)) for door in mine if (door.transport == "udp") == udp]

    def _refused(self, accounts: Sequence[Account]) -> tuple[int, int]:
        """Return (lines without a key, lines refused by validation)."""
        keyless = ("name",) if self._relay.lines.validate else _WITHOUT_KEY
        malformed = sum(_sum(accounts, _BAD + kind) for kind in keyless)
        bad = [what for account in accounts for what in account.counters if what.startswith(_BAD)]
        return malformed, sum(_sum(accounts, what) for what in dict.fromkeys(bad)) - malformed


def _sum(accounts: Sequence[Account], what: str) -> int:
    return sum(account.counters.get(what, 0) for account in accounts)


def _group(account: Account, flood: Account | None) -> GroupStatus:
    dropped = account.dropped
    return GroupStatus(
        filtered=dropped.get("filtered_lines", 0),
        flagged=flood.dropped.get("flagged_lines", 0) if flood is not None else 0,
        relayed=account.out,
        rejected=dropped.get("rejected_lines", 0),
    )


def _destinations(stages: Stages, destinations: dict[str, Destination]) -> list[DestinationStatus]:
    """Return every destination once, in the order of its first appearance."""
    names = dict.fromkeys(name for group, _, _ in stages for name in group.members)
    found = []
    for name in names:
        sent = [stage.sent[name] for _, stage, _ in stages if name in stage.sent]
        destination = destinations[name]
        account = destination.account
        found.append(
            DestinationStatus(
                key=name,
                queued_bytes=sum(each.bytes for each in sent),
                sent_bytes=account.counters.get("bytes_sent", 0),
                relayed=sum(each.lines for each in sent),
                dropped=sum(account.dropped.values()),
                failing=destination.failing,
            )
        )
    return found
