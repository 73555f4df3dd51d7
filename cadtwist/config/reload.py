"""What a new Config changes in a running process: what it takes at once, and what needs a restart.

The table of `config.options` says which value is which.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cadtwist.config.assemble import assembled, value_at
from cadtwist.config.checks import faults
from cadtwist.config.model import Config
from cadtwist.config.options import OPTIONS
from cadtwist.config.relaymodel import RelayConfig

__all__ = ["LISTS", "SCHEMAS", "Change", "Difference", "clashes", "difference", "merged", "rules_of"]

SCHEMAS = ("schemas", "aggregation")
"""What the files of schemas hold."""

LISTS = ("stages.blacklist", "stages.whitelist", "stages.rewrite", "stages.post_rewrite", "aggregate_rules")
"""What the files of lists and rules about names hold."""


_WHOLE = ("listeners", "relays", "destinations", "health_metrics", "accumulators", "dattss")


class Change(Struct, frozen=True):
    """One value that differs; `path` is its place in the Config."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if isinstance(self.new, (tuple, Struct)) or isinstance(self.old, (tuple, Struct)):
            return f"{self.path}: changed"
        return f"{self.path}: {self.old!r} becomes {self.new!r}"


class Difference(Struct, frozen=True):
    """The changes that a running process takes, and those that it refuses until it is started again."""

    changes: tuple[Change, ...]
    refused: tuple[Change, ...]


def difference(old: Config, new: Config) -> Difference:
    """Compare two configurations value by value; a list such as `listeners` counts as one value."""
    changes: list[Change] = []
    refused: list[Change] = []
    for path, reloadable in _rows().items():
        before, after = value_at(old, path), value_at(new, path)
        if before == after:
            continue
        group = path.partition(".")[0]
        appears = path != group and None in (getattr(old, group), getattr(new, group))
        appears |= path == "relays" and () in (before, after)
        takes = reloadable and not appears
        if path == "relays" and takes:
            after, as_read = _read_as(before, after)
            refused += as_read
            if after == before:
                continue
        (changes if takes else refused).append(Change(path, before, after))
    return Difference(tuple(changes), tuple(refused))


def _read_as(
    old: tuple[RelayConfig, ...], new: tuple[RelayConfig, ...]
) -> tuple[tuple[RelayConfig, ...], list[Change]]:
    """Return the new relays, each with the lines of the old one of its name, and what they would have read otherwise.

    Listeners read lines, and these are not made anew.
    """
    present = {relay.name: relay.lines for relay in old}
    kept = tuple(replace(relay, lines=present.get(relay.name, relay.lines)) for relay in new)
    return kept, [
        Change(f"relays.{relay.name}.lines", stays.lines, relay.lines)
        for relay, stays in zip(new, kept, strict=True)
        if relay.lines != stays.lines
    ]


def merged(old: Config, new: Config) -> Config:
    """Return `old` with every change that a running process takes: what runs on when the rest is refused."""
    return assembled(old, {change.path: change.new for change in difference(old, new).changes})


def clashes(old: Config, new: Config) -> tuple[str, ...]:
    """Return the contradictions of `merged(old, new)` that neither of the two has: of what is taken with what stays."""
    known = {*faults(old), *faults(new)}
    found = (each for each in faults(merged(old, new)) if each not in known)
    return tuple(f"{'.'.join(str(part) for part in place)}: {text}" for place, text in found)


def rules_of(old: Config, new: Config, paths: tuple[str, ...] = SCHEMAS + LISTS) -> Config:
    """Return `old` with the rules of `new` at `paths`: what the periodic look at rule files takes."""
    return assembled(old, {path: value_at(new, path) for path in paths})


def _rows() -> dict[str, bool]:
    """Return reloadable by path; what stands in lists, and in what may be None, counts as a whole if any of it is."""
    rows: dict[str, bool] = {}
    for row in OPTIONS:
        first, *within = row.path.split(".")
        path = ".".join([first, *([] if first in _WHOLE else within[:1])])
        rows[path] = row.reloadable or rows.get(path, False)
    return rows
