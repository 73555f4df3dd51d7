"""statsd's management commands: one command in, its reply out.  No socket, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from cadtwist.codec.nodeinspect import inspect
from cadtwist.kernels.jstext import js_text

__all__ = ["StatsdFacts", "reply"]

_HELP = "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n"
_END = "END\n\n"
_BLANKS = "\t\n\v\f\r "
_SEVEN_BITS = bytes(byte & 0x7F for byte in range(256))
_KINDS = {"counters": "c", "timers": "ms", "gauges": "g"}


class StatsdFacts(Protocol):
    """What the management interface asks and changes."""

    healthy: bool

    def stats(self) -> Iterable[tuple[str, float]]:
        """Return what `stats` shows, in order: names such as `uptime`, `graphite.flush_time`."""

    def table(self, kind: str) -> Mapping[str, float | Sequence[float]]:
        """Return the open values of the series of a kind (c, ms, g)."""

    def delete(self, kind: str, names: Sequence[str]) -> None:
        """Tell series no more."""

    def shown(self) -> Iterable[str]:
        """Return the lines of the configuration."""


def reply(command: bytes, facts: StatsdFacts) -> bytes | None:
    """Return the answer to what a client sent at once; None: it wants the connection closed."""
    name, *arguments = command.translate(_SEVEN_BITS).decode("ascii").strip(_BLANKS).split(" ")
    if name == "quit":
        return None
    return _reply(name, arguments, facts).encode()


def _reply(name: str, arguments: list[str], facts: StatsdFacts) -> str:
    if name == "help":
        return _HELP
    if name == "stats":
        return "".join(f"{what}: {js_text(value)}\n" for what, value in facts.stats()) + _END
    if name in _KINDS:
        return f"{inspect(facts.table(_KINDS[name]))}\n{_END}"
    if name.startswith("del") and name[3:] in _KINDS:
        return _delete(_KINDS[name[3:]], arguments, facts)
    if name == "health":
        if arguments and arguments[0].lower() in ("up", "down"):
            facts.healthy = arguments[0].lower() == "up"
        return f"health: {'up' if facts.healthy else 'down'}\n"
    if name == "config":
        return "\n" + "".join(f"{line}\n" for line in facts.shown())
    return "ERROR\n"


def _delete(kind: str, arguments: list[str], facts: StatsdFacts) -> str:
    lines = []
    there = list(facts.table(kind)) if arguments else []
    gone: dict[str, None] = {}
    for argument in arguments:
        stem = argument[:-1] if argument.endswith(".*") else None
        found = [key for key in there if key not in gone and (key.startswith(stem) if stem else key == argument)]
        lines += [f"deleted: {key}\n" for key in found] or [f"metric {argument} not found\n"]
        gone |= dict.fromkeys(found)
    facts.delete(kind, list(gone))
    return "".join(lines) + _END
