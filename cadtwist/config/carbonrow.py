"""The form of a row in the table of carbon.conf's options, and the spelling of their values."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from cadtwist.config.model import Protocol

__all__ = ["LETTERS", "CarbonOption", "Door", "Kind", "belongs_to", "ours", "parse_value", "without_effect"]

Kind = Literal["bool", "int", "float", "text", "list", "path"]

LETTERS = {"carbon-cache": "C", "carbon-relay": "R", "carbon-aggregator": "A", "carbon-aggregator-cache": "B"}
"""The programs, as the rows name them."""

ALL = "CRAB"
_OWNERS = {
    "CB": "caches",
    "CAB": "caches and aggregators",
    "R": "relays",
    "RA": "relays and aggregators",
    "RAB": "relays and aggregators",
    "AB": "aggregators",
}


class CarbonOption(Struct, frozen=True):
    """One option.

    `unset`: `None` and an empty value mean the default.  `harmless` is a value that is worth no notice.  `sample` is
    the default of a row without target, or of carbon where it is not the target's, as documents show it.  `ours`:
    carbon does not know it.  `users` are the letters of the programs that use it.  A target within
    `destinations`, or `relays.groups`, is set for every one of them.
    """

    name: str
    kind: Kind
    target: str = ""
    effect: str = ""
    reason: str = ""
    unset: bool = False
    harmless: Any = None
    sample: str = ""
    ours: bool = False
    users: str = ALL


class Door(Struct, frozen=True):
    """A listener of carbon: options `<prefix>_INTERFACE`, `<prefix>_PORT`; `port` 0 = off unless the port is given."""

    prefix: str
    protocol: Protocol
    port: int
    udp: bool = False
    users: str = ALL


def belongs_to(row: CarbonOption) -> str:
    """Return in words whose option it is."""
    return f"belongs to {_OWNERS[row.users]}"


def without_effect(reason: str, kind: Kind, *names: str) -> tuple[CarbonOption, ...]:
    """Return rows of options that are known and do nothing."""
    return tuple(CarbonOption(name, kind, reason=reason, unset=True) for name in names)


def ours(name: str, kind: Kind, target: str = "", effect: str = "", users: str = ALL, sample: str = "") -> CarbonOption:
    """Return the row of an option that carbon does not know."""
    return CarbonOption(name, kind, target, effect, ours=True, users=users, sample=sample)


_TRUE = frozenset(("1", "yes", "true", "on"))
_FALSE = frozenset(("0", "no", "false", "off"))


def parse_value(kind: Kind, text: str) -> Any:
    """Read the text of an option; ValueError tells what was expected."""
    if kind == "bool":
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"{text!r} is neither True nor False (nor yes, no, on, off, 1, 0)")
        return text.lower() in _TRUE
    if kind == "list":
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind in ("int", "float"):
        return _number(kind, text)
    return text


def _number(kind: Kind, text: str) -> int | float:
    try:
        number = float(text)
        if kind == "float":
            return number
        whole = int(number) if "." in text or "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        wanted = "number" if kind == "float" else "whole number"
        raise ValueError(f"{text!r} is not a {wanted}") from None
    if whole != number and abs(number) < float(1 << 53):
        raise ValueError(f"{text!r} is not a whole number")
    return whole
