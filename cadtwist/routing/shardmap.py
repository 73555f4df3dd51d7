"""statsrelay's virtual shards: a fixed number of them, each assigned to a backend; and how to assign them better.

The number of shards decides where a name goes, so it stays; load is moved by giving shards to other backends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cadtwist.routing.hashes import statsrelay_murmur3

__all__ = ["Move", "Plan", "ShardMap", "backend_key", "hasher_line", "plan_moves", "spread_shards"]

MAX_SHARDS = 1 << 20
"""The most shards that `spread_shards` makes."""


def backend_key(text: str) -> str:
    """Return `host:port:protocol` of a backend as it is configured; tcp is the default.

    ValueError without a port.  A text that has a protocol already is its own key.
    """
    host, colon, rest = text.partition(":")
    if not host or not colon or not rest:
        raise ValueError(f"{text!r} is not host:port or host:port:protocol")
    return text if ":" in rest else f"{text}:tcp"


class ShardMap:
    """Which backend has each shard, as configured: `shards[i]` has shard i."""

    def __init__(self, shards: Sequence[str]) -> None:
        self.shards = tuple(shards)

    def __len__(self) -> int:
        return len(self.shards)

    def shard(self, name: bytes) -> int:
        """Return the shard of a name; ValueError without shards."""
        if not self.shards:
            raise ValueError("the shard map is empty")
        return statsrelay_murmur3(name) % len(self.shards) if len(self.shards) > 1 else 0

    def backend(self, name: bytes) -> str:
        """Return the backend of a name as it is configured; ValueError without shards."""
        return self.shards[self.shard(name)]


def hasher_line(key: str, shards: ShardMap | None, sends_health_metrics: bool) -> str:
    """Return what `stathasher` prints about a line of its input, without the newline: the key ends at white space."""
    words = key.split(maxsplit=1)
    name = words[0] if words and not key[0].isspace() else ""
    if shards is None or not len(shards):
        return f"key={name}"
    shard = shards.shard(name.encode("utf-8", "surrogateescape"))
    health = "true" if sends_health_metrics else "false"
    return f"key={name} statsd={shards.shards[shard]} statsd_shard={shard} send_health_metrics={health}"


def spread_shards(backends: Sequence[str], count: int) -> tuple[str, ...]:
    """Return a map of `count` shards, in one stretch for each backend and as even as possible.

    ValueError for fewer shards than backends, equal backends, or more than MAX_SHARDS.
    """
    if not backends or len(set(backends)) != len(backends):
        raise ValueError("different backends are needed, at least one")
    if not len(backends) <= count <= MAX_SHARDS:
        raise ValueError(f"{count} shards: from {len(backends)} (one for each backend) to {MAX_SHARDS} are possible")
    return tuple(backends[shard * len(backends) // count] for shard in range(count))


class Move(NamedTuple):
    """A shard that changes its backend, with the lines that it had."""

    shard: int
    source: str
    target: str
    lines: int


class Plan(NamedTuple):
    """A better shard map and the way to it; `before` and `after` are the lines of each backend."""

    shards: tuple[str, ...]
    moves: tuple[Move, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]


def plan_moves(
    shards: Sequence[str],
    lines: Sequence[int],
    *,
    added: Sequence[str] = (),
    leaving: Collection[str] = (),
    tolerance: float = 0.1,
    max_moves: int | None = None,
) -> Plan:
    """Return how to move shards off loaded backends, with few moves.

    `lines[i]` is what shard i had.  Backends that are `added` have no shard yet; those that are `leaving` lose all,
    whatever `max_moves` says.  Shards move from the most to the least loaded backend until the former has at most
    (1 + `tolerance`) of the mean, no move helps, or `max_moves` are used up.  ValueError for arguments that do not fit.
    """
    _check(shards, lines, added, leaving, tolerance)
    owners = list(shards)
    names = dict.fromkeys((*shards, *added))
    staying = [name for name in names if name not in leaving]
    evacuated = _evacuate(owners, lines, staying, leaving)
    left = len(owners) if max_moves is None else max(max_moves - evacuated, 0)
    _level(owners, lines, staying, tolerance, left)
    moved = [shard for shard, owner in enumerate(shards) if owner != owners[shard]]
    moves = [Move(shard, shards[shard], owners[shard], lines[shard]) for shard in moved]
    moves.sort(key=lambda move: (-move.lines, move.shard))
    return Plan(tuple(owners), tuple(moves), _loads(shards, lines, names), _loads(owners, lines, names))


def _check(
    shards: Sequence[str],
    lines: Sequence[int],
    added: Sequence[str],
    leaving: Collection[str],
    tolerance: float,
) -> None:
    if not shards or len(lines) != len(shards):
        raise ValueError(f"{len(lines)} counts of lines for {len(shards)} shards")
    if min(lines) < 0 or tolerance < 0:
        raise ValueError("counts of lines and the tolerance cannot be negative")
    unknown = sorted(set(leaving) - {*shards, *added})
    if unknown:
        raise ValueError(f"{', '.join(unknown)} cannot leave: no shard is there")
    if not {*shards, *added} - set(leaving):
        raise ValueError("no backend would be left")


def _loads(owners: Sequence[str], lines: Sequence[int], names: Collection[str]) -> dict[str, int]:
    loads = dict.fromkeys(names, 0)
    for owner, count in zip(owners, lines, strict=True):
        if owner in loads:
            loads[owner] += count
    return loads


def _evacuate(owners: list[str], lines: Sequence[int], staying: Collection[str], leaving: Collection[str]) -> int:
    """Give every shard of who is leaving to the least loaded, the heaviest first; return how many."""
    loads = _loads(owners, lines, staying)
    orphans = [shard for shard, owner in enumerate(owners) if owner in leaving]
    for shard in sorted(orphans, key=lambda shard: (-lines[shard], shard)):
        owners[shard] = min(loads, key=loads.__getitem__)
        loads[owners[shard]] += lines[shard]
    return len(orphans)


def _level(owners: list[str], lines: Sequence[int], staying: Collection[str], tolerance: float, left: int) -> None:
    """Move shards from the most to the least loaded backends, each narrowing the gap between the two: at most `left`.

    Each move makes the sum of the squared loads smaller, so this comes to an end.
    """
    loads = _loads(owners, lines, staying)
    bound = (1 + tolerance) * sum(loads.values()) / len(loads)
    shards_of: dict[str, set[int]] = {name: set() for name in loads}
    for shard, owner in enumerate(owners):
        shards_of[owner].add(shard)
    for _ in range(left):
        target = min(loads, key=loads.__getitem__)
        best = None
        for source in sorted(loads, key=loads.__getitem__, reverse=True):
            if loads[source] <= bound or best is not None:
                break
            best = _narrowing(shards_of[source], lines, loads[source] - loads[target])
            giver = source
        if best is None:
            break
        shards_of[giver].remove(best)
        shards_of[target].add(best)
        loads[giver], loads[target] = loads[giver] - lines[best], loads[target] + lines[best]
        owners[best] = target


def _narrowing(shards: Collection[int], lines: Sequence[int], gap: int) -> int | None:
    """Return the shard whose move halves `gap` best, the lowest of equals; None when every move would widen it."""
    fitting = [(abs(gap - 2 * lines[shard]), shard) for shard in shards if 0 < lines[shard] < gap]
    return min(fitting)[1] if fitting else None
