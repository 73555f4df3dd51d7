"""What is counted about each section, read off the accounts of a running relay.  Reactor thread.

A section is a relay of the configuration: its listeners, filters, groups, and the destinations of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import RelayConfig
from cadtwist.services.chains import group_label, targets_of
from cadtwist.services.receivers import door_name
from cadtwist.services.relaygraph import RelayGraph
from cadtwist.telemetry import Account, Telemetry

__all__ = ["Sections", "bad_lines", "door_url"]

_METRICS = ("line", "pickle", "protobuf")
_NO_LISTENER = "BACKEND-ONLY"


def door_url(door: Listener) -> str:
    """Return where a listener is as a URL."""
    if door.transport == "unix":
        return f"unix://{door.path}"
    if door.transport in ("http", "endpoint"):
        return door.address
    return door.address.replace(":", "://", 1)


def bad_lines(account: Account) -> int:
    """Return how many lines a listener has refused; blank ones are none, for whoever asks for lines."""
    return sum(count for what, count in account.counters.items() if what.startswith("bad.") and what != "bad.empty")


class Sections:
    """Reads counts and states; the counts never go down, whoever leaves."""

    def __init__(self, graph: RelayGraph, telemetry: Telemetry) -> None:
        self._graph = graph
        self._telemetry = telemetry
        self._known: dict[str, dict[str, None]] = {}

    @property
    def config(self) -> Config:
        """The configuration that is in force."""
        return self._graph.config

    def doors(self, relay: RelayConfig) -> list[tuple[Listener, Account]]:
        """Return the listeners of a section, each with its account."""
        return [
            (door, self._telemetry.account(door_name(door)))
            for door in self.config.listeners
            if door.protocol in _METRICS and relay.name in targets_of(self.config, door)
        ]

    def destinations(self, relay: RelayConfig) -> list[Account]:
        """Return the accounts of all destinations that a section has ever had."""
        known = self._known.setdefault(relay.name, {})
        known.update(dict.fromkeys(self._members(relay)))
        return [self._telemetry.account(f"destination {name}") for name in known]

    def routers(self, relay: RelayConfig) -> list[Account]:
        """Return the accounts of the last stage of each group."""
        return [self._telemetry.account(f"router {group_label(relay, number)}") for number in range(len(relay.groups))]

    def redirected(self, source: str, target: str) -> int:
        """Return how many lines of one section went to another."""
        return sum(switch.counters.get(f"to {target}", 0) for switch in self._switches(source))

    def rejected(self, relay: RelayConfig) -> int:
        """Return how many lines the filters of a section have rejected."""
        return sum(switch.dropped.get("rejected", 0) for switch in self._switches(relay.name))

    def given(self, relay: RelayConfig) -> int:
        """Return how many lines came from other sections, or from accumulators."""
        redirected = sum(self.redirected(other.name, relay.name) for other in self.config.relays if other is not relay)
        made = [each for each in self.config.accumulators if each.backend == relay.name]
        return redirected + sum(self._telemetry.account(f"accumulator {each.name} lines").out for each in made)

    def accumulated(self, relay: RelayConfig) -> int:
        """Return how many lines of a section went to its accumulator."""
        names = [each.name for each in self.config.accumulators if each.relay == relay.name]
        return sum(_came_in(self._telemetry, name) for name in names)

    def totals(self, relay: RelayConfig) -> dict[str, int]:
        """Return what is counted since the start, by the names of `sectionstats.COUNTS`."""
        doors = [account for _, account in self.doors(relay)]
        destinations, routers, given = self.destinations(relay), self.routers(relay), self.given(relay)
        switches = self._switches(relay.name)
        elsewhere = sum(self.redirected(relay.name, other.name) for other in self.config.relays if other is not relay)
        return {
            "valid_line_count": sum(account.received for account in doors) + given,
            "worker_line_count": sum(account.out for account in routers),
            "invalid_line_count": sum(bad_lines(account) for account in doors),
            "success_send_count": _sum(destinations, "sent"),
            "fail_send_count": sum(sum(account.dropped.values()) for account in destinations),
            "unsendable_send_count": sum(account.dropped.get("no_destination", 0) for account in routers)
            + sum(switch.dropped.get("no_relay", 0) for switch in switches),
            "unknown_send_count": _sum(destinations, "resent"),
            "all_lines_count": sum(account.received + bad_lines(account) for account in doors) + given,
            "redirected_lines_count": elsewhere,
            "rejected_lines_count": self.rejected(relay),
            "bytes_read_count": _sum(doors, "bytes"),
            "bytes_written_count": _sum(destinations, "bytes_sent"),
        }

    def state(self, relay: RelayConfig) -> dict[str, Any]:
        """Return everything else that a stats object tells."""
        configs = {each.name: each for each in self.config.destinations}
        members, checks = self._members(relay), self._graph.health.checks
        accounts = [self._telemetry.account(f"destination {name}") for name in members]
        doors = self.doors(relay)
        down = [configs[name].address for name in members if name in self._graph.down]
        return {
            "listening": ", ".join(door_url(door) for door, _ in doors) or _NO_LISTENER,
            "servers_up": self.servers_up(relay),
            "servers_down": down or None,
            "servers_checking": [checks[name] for name in members if name in checks],
            "current_read_buffer_size": round(sum(_gauge(account, "waiting_bytes") for account in accounts)),
            "max_read_buffer_size": sum(configs[name].queue.max_bytes for name in members),
            "input_queue_size": sum(account.held() for _, account in doors),
            "work_queue_size": sum(account.held() for account in accounts),
            "shards": list(self._shards(relay)),
        }

    def servers_up(self, relay: RelayConfig) -> list[str]:
        """Return who is on the rings of a section, by what stands for it there."""
        found: dict[str, None] = {}
        configs = {each.name: each for each in self.config.destinations}
        for group in relay.groups:
            keys = group.hash_keys or tuple(configs[name].address for name in group.members)
            live = set(self._graph.live(group))
            found.update(dict.fromkeys(key for name, key in zip(group.members, keys, strict=False) if name in live))
        return list(found)

    def _shards(self, relay: RelayConfig) -> Iterator[dict[str, Any]]:
        for group, stage, account in self._graph.stages_of(relay):
            if group.method == "shards":
                yield {
                    "group": account.name.removeprefix("router "),
                    "shard_map": list(group.hash_keys or group.members),
                    "lines": self._graph.lines_by_shard(group, stage, account),
                }

    @staticmethod
    def _members(relay: RelayConfig) -> list[str]:
        return list(dict.fromkeys(name for group in relay.groups for name in group.members))

    def _switches(self, relay: str) -> list[Account]:
        """Return the accounts of a section's filters: of lines that came in, and of those that accumulators made."""
        found = self._telemetry.accounts.get(f"sections {relay} of accumulators")
        return [self._telemetry.account(f"sections {relay}"), *([] if found is None else [found])]


def _came_in(telemetry: Telemetry, name: str) -> int:
    read = telemetry.accounts.get(f"accumulator {name} input")
    return (telemetry.account(f"accumulator {name}") if read is None else read).received


def _sum(accounts: list[Account], what: str) -> int:
    return sum(account.counters.get(what, 0) for account in accounts)


def _gauge(account: Account, what: str) -> float:
    return account.gauges[what]() if what in account.gauges else 0.0
