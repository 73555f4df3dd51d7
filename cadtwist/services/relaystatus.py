"""What statsrelay's clients ask on the line port (`status`, `shards`), read off the parts of a running relay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import GroupConfig, RelayConfig
from cadtwist.net.destination import Destination
from cadtwist.protocols.relayline import DestinationStatus, GroupStatus, RelayStatus, shards_reply
from cadtwist.routing.stage import RouterStage, Sent
from cadtwist.services.receivers import door_name
from cadtwist.telemetry import Account, Telemetry

__all__ = ["StatusAnswers"]

_WITHOUT_KEY = ("name", "fields", "empty")
_BAD = "bad."
_FLAGGED = "flagged_lines"

Stages = Sequence[tuple[GroupConfig, RouterStage, Account]]


class Relay(Protocol):
    """What is asked of the running relay (`services.relaygraph`)."""

    destinations: dict[str, Destination]

    def stages_of(self, relay: RelayConfig) -> Stages:
        """Return the last stages of its groups, in order."""

    def sent(self, name: str) -> Sent:
        """Return what a destination was given since the start."""


class StatusAnswers:
    """Answers for the first relay of `config`, which in statsrelay's dialect is the only one.  Reactor thread.

    Destinations of health metrics are not told.
    """

    def __init__(self, config: Config, telemetry: Telemetry) -> None:
        self.config = config
        self._telemetry = telemetry
        self._told_invalid = 0
        self._told_flagged: dict[str, int] = {}

    def answer(self, command: bytes, relay: Relay) -> bytes:
        """Return the answer to `status` or `shards`."""
        if command == b"shards":
            return shards_reply([group.members for group, _, _ in relay.stages_of(self.config.relays[0])])
        return self.status(relay).reply()

    def health_lines(self, relay: Relay) -> list[bytes]:
        """Return the counters as statsd lines; `invalid_lines` and `flagged_lines` begin anew."""
        status, stages = self.status(relay), relay.stages_of(self.config.relays[0])
        written = {
            name: text
            for group, _, _ in stages
            for name, text in zip(group.members, group.hash_keys or group.members, strict=False)
        }
        self._told_invalid = status.invalid
        for _, _, account in stages:
            flood = self._flood(account)
            self._told_flagged[flood.name] = flood.dropped.get(_FLAGGED, 0)
        return status.health_lines([_key_part(written[each.key], each.key) for each in status.destinations])

    def status(self, relay: Relay) -> RelayStatus:
        """Return all counters since the start."""
        stages = relay.stages_of(self.config.relays[0])
        streams, datagrams = self._accounts(udp=False), self._accounts(udp=True)
        malformed, invalid = self._refused([*streams, *datagrams])
        return RelayStatus(
            udp_bytes=_sum(datagrams, "bytes"),
            tcp_bytes=_sum(streams, "bytes"),
            connections=_sum(streams, "connections"),
            malformed=malformed,
            invalid_recent=invalid - self._told_invalid,
            invalid=invalid,
            groups=[self._group(account) for _, _, account in stages],
            destinations=_destinations(stages, relay),
        )

    def _flood(self, router: Account) -> Account:
        """Return the account of the flood control before a group's router; an empty one where there is none."""
        name = "flood" + router.name.removeprefix("router")
        return self._telemetry.accounts.get(name, Account(name))

    def _group(self, account: Account) -> GroupStatus:
        flood, dropped = self._flood(account), account.dropped
        return GroupStatus(
            filtered=dropped.get("filtered_lines", 0),
            flagged=flood.dropped.get(_FLAGGED, 0) - self._told_flagged.get(flood.name, 0),
            relayed=account.out,
            rejected=dropped.get("rejected_lines", 0),
        )

    def _accounts(self, udp: bool) -> list[Account]:
        relay = self.config.relays[0].name
        doors = [door for door in self.config.listeners if door.protocol == "line"]
        mine = [door for door in doors if relay in (door.to or (relay,))]
        return [self._telemetry.account(door_name(door)) for door in mine if (door.transport == "udp") == udp]

    def _refused(self, accounts: Sequence[Account]) -> tuple[int, int]:
        """Return (lines without a key, lines refused by validation)."""
        keyless = ("name",) if self.config.relays[0].lines.validate else _WITHOUT_KEY
        malformed = sum(_sum(accounts, _BAD + kind) for kind in keyless)
        bad = [what for account in accounts for what in account.counters if what.startswith(_BAD)]
        return malformed, sum(_sum(accounts, what) for what in dict.fromkeys(bad)) - malformed


def _sum(accounts: Sequence[Account], what: str) -> int:
    return sum(account.counters.get(what, 0) for account in accounts)


def _key_part(written: str, key: str) -> str:
    """Return a destination within a metric name: as it was written, dots and colons replaced, then the protocol."""
    protocol = key.rpartition(":")[2]
    return f"{written.replace('.', '_').replace(':', '_')}.{protocol}"


def _destinations(stages: Stages, relay: Relay) -> list[DestinationStatus]:
    """Return every destination once, in the order of its first appearance."""
    found = []
    for name in dict.fromkeys(name for group, _, _ in stages for name in group.members):
        destination, sent = relay.destinations[name], relay.sent(name)
        account = destination.account
        found.append(
            DestinationStatus(
                key=name,
                queued_bytes=sent.bytes,
                sent_bytes=account.counters.get("bytes_sent", 0),
                relayed=sent.lines,
                dropped=sum(account.dropped.values()),
                failing=destination.failing,
            )
        )
    return found
