"""Reads what the replaced systems were seen to do, and makes members of the recorded texts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from cadtwist.routing.ring import Member

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data")


def recording(*path: str) -> Any:
    """Return the content of a JSON file below tests/data."""
    with open(os.path.join(DATA, *path), encoding="utf-8") as file:
        return json.load(file)


def carbon_members(parsed: Iterable[tuple[str, int, str | None]]) -> list[Member]:
    """Return members of (host, port, instance), keyed by their positions."""
    return [Member(str(number), *where) for number, where in enumerate(parsed)]


def parsed_destinations(texts: Iterable[str]) -> list[tuple[str, int, str | None]]:
    """Return (host, port, instance) of `host:port[:instance]` without brackets."""
    return [(host, int(port), rest[0] if rest else None) for host, port, *rest in (text.split(":") for text in texts)]


def relay_members(texts: Iterable[str]) -> list[Member]:
    """Return members of carbon-c-relay's `host:port[=instance]`, keyed by their positions."""
    found = []
    for number, text in enumerate(texts):
        address, equals, instance = text.partition("=")
        host, _, port = address.partition(":")
        found.append(Member(str(number), host, int(port), instance if equals else None))
    return found


def indexes(keys: Iterable[str]) -> int | list[int]:
    """Return keys as recordings have them: each once, and a plain number for a single one."""
    found = [int(key) for key in dict.fromkeys(keys)]
    return found[0] if len(found) == 1 else found
