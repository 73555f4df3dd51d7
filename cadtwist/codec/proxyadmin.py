"""The management commands of statsd's cluster proxy: one command in, its reply out.  No socket, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from cadtwist.kernels.jstext import js_text

__all__ = ["ProxyFacts", "config_lines", "proxy_reply"]


class ProxyFacts(Protocol):
    """What the commands ask of a running proxy, and change."""

    healthy: bool

    def uptime_s(self) -> float:
        """Return the seconds since the start."""

    def nodes(self) -> Iterable[str]:
        """Return the nodes on the ring as HOST:PORT, in the order in which they came onto it."""

    def shown(self) -> Iterable[str]:
        """Return the lines of the configuration."""


def proxy_reply(command: bytes, facts: ProxyFacts) -> bytes | None:
    """Return the answer to what a client sent at once; None: it wants the connection closed."""
    name, *arguments = command.decode("ascii", "replace").strip().split(" ")
    if name == "quit":
        return None
    return _reply(name, arguments, facts).encode("utf-8", "replace")


def _reply(name: str, arguments: list[str], facts: ProxyFacts) -> str:
    if name == "help":
        return "Commands: config, health, status, quit\n\n"
    if name == "config":
        return "\n" + "".join(f"{line}\n" for line in facts.shown())
    if name == "health":
        if arguments and arguments[0].lower() in ("up", "down"):
            facts.healthy = arguments[0].lower() == "up"
        return f"health: {'up' if facts.healthy else 'down'}\n"
    if name == "status":
        nodes = "".join(f"{node} " for node in facts.nodes())
        return f"uptime: {int(facts.uptime_s())}\nnodes: {nodes}\n"
    return "ERROR\n"


def config_lines(config: Mapping[str, Any]) -> Iterable[str]:
    """Yield what `config` shows: a line for each value, those within a list or mapping behind a `>`.

    Values are texts, numbers, truth values, None, and lists or mappings of them.
    """
    for key, value in config.items():
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            yield from (f"{key} > {below}: {_shown(each)}" for below, each in value.items())
        else:
            yield f"{key}: {_shown(value)}"


def _shown(value: Any) -> str:
    """Return a value as JavaScript makes a text of it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return ",".join("" if each is None else _shown(each) for each in value)
    if isinstance(value, Mapping):
        return "[object Object]"
    return js_text(float(value)) if isinstance(value, (int, float)) else str(value)
