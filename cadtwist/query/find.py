"""Finding names by glob in the index, within limits."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeVar

from msgspec import Struct

from cadtwist.errors import CadtwistError
from cadtwist.model.pattern import is_pattern, parse_pattern
from cadtwist.query.index import BRANCH, LEAF, MetricIndex

__all__ = [
    "FindBudget",
    "FindLimits",
    "Found",
    "Match",
    "QueryError",
    "Slices",
    "TooBroad",
    "at_once",
    "find",
    "find_leaves",
    "finding_leaves",
    "matched",
    "searching",
]

_WORK_PER_NODE = 64
_WORK_PER_QUERY = 6_000  # a unit is about a nanosecond
_WORK_PER_ALTERNATIVE = 4_000
_WORK_PER_ESCAPED = 250
_MANY_GLOBS = 4
_SHOWN = 200
_RUN = 8192

Match = tuple[str, int]
"""(path, LEAF | BRANCH)"""

Result = TypeVar("Result")
Slices = Generator[None, None, Result]
"""Work that pauses now and then: a few milliseconds at a time."""


class QueryError(CadtwistError):
    """A query cannot be answered as it is; the message says why."""


class TooBroad(QueryError):  # noqa: N818 (as the other errors are named)
    """A query means more than one may ask for at once."""


@dataclass(frozen=True)
class FindLimits:
    """What the queries of one request may cost: `matches` names found, `nodes` of the tree looked at.

    `slice_nodes` are looked at between two pauses.

    The defaults keep the owner of the index busy for about a tenth of a second, in slices.
    """

    matches: int = 100_000
    nodes: int = 1_500_000
    slice_nodes: int = 80_000

    def budget(self) -> FindBudget:
        """Return what a request may spend."""
        return FindBudget(self, self.matches, self.nodes * _WORK_PER_NODE)


@dataclass
class FindBudget:
    """What is left of the limits to the queries of one request."""

    limits: FindLimits
    matches: int
    work: int


class Found(Struct, frozen=True, array_like=True):
    """What a search found, in no order, as columns: paths one after the other, their ends (uint32) and kinds (bytes).

    With `branches` the query ended in a dot: only branches are meant, with a dot.
    """

    paths: bytes = b""
    ends: bytes = b""
    kinds: bytes = b""
    branches: bool = False


def searching(index: MetricIndex, query: str, budget: FindBudget) -> Slices[Found]:
    """Search in slices; return what a query means, TooBroad beyond the limits.

    A tagged name (with a semicolon) is looked up exactly.  A trailing dot asks for the branch itself.
    """
    if ";" in query and not query.startswith("_tagged."):
        path = query.encode("utf-8", "replace")
        return Found(path, struct.pack("=I", len(path)), bytes([LEAF])) if index.flags(path) else Found()
    branches = query.endswith(".") and len(query) > 1
    return (yield from _search(index, query[:-1] if branches else query, budget, branches))


def matched(found: Found) -> Slices[list[Match]]:
    """Return in slices what was found, sorted by path."""
    ends = memoryview(found.ends).cast("I").tolist()
    runs: list[list[Match]] = []
    begin = 0
    for first in range(0, len(ends), _RUN):
        some, kinds = ends[first : first + _RUN], found.kinds[first : first + _RUN]
        texts = _texts(found.paths, [begin, *some])
        begin = some[-1]
        if found.branches:
            runs.append(sorted((f"{path}.", BRANCH) for path, kind in zip(texts, kinds, strict=True) if kind & BRANCH))
        elif kinds.count(kinds[0]) == len(kinds):
            texts.sort()  # much quicker than pairs are
            runs.append([(path, kinds[0]) for path in texts])
        else:
            runs.append(sorted(zip(texts, kinds, strict=True)))
        if first + _RUN < len(ends):
            yield
    if len(runs) < 2:
        return runs[0] if runs else []
    merged = heapq.merge(*runs)
    matches: list[Match] = []
    while run := list(islice(merged, _RUN)):
        matches += run
        yield
    return matches


def _texts(paths: bytes, bounds: list[int]) -> list[str]:
    """Return the texts between the bounds."""
    begin, some = bounds[0], paths[bounds[0] : bounds[-1]]
    if some.isascii():
        text = some.decode("ascii")
        return [text[low - begin : high - begin] for low, high in pairwise(bounds)]
    return [paths[low:high].decode("utf-8", "replace") for low, high in pairwise(bounds)]


def finding_leaves(index: MetricIndex, query: str, budget: FindBudget) -> Slices[list[str]]:
    """Return in slices the names of metrics that a query means, sorted.

    A tagged name is taken at its word: the index cannot tell it from the hash under which its file may lie.
    """
    if ";" in query and not query.startswith("_tagged."):
        return [query]
    if not is_pattern(query) and index.flags(query.encode("utf-8", "replace")):
        return [query]
    matches = yield from matched((yield from searching(index, query, budget)))
    return [path for path, kind in matches if kind & LEAF]


def at_once(slices: Slices[Result]) -> Result:
    """Return what `slices` return, without a pause."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            result: Result = end.value
            return result


def find(index: MetricIndex, query: str, budget: FindBudget) -> list[Match]:
    """Return what a query means, sorted by path, at once; TooBroad beyond the limits."""
    return at_once(matched(at_once(searching(index, query, budget))))


def find_leaves(index: MetricIndex, query: str, budget: FindBudget) -> list[str]:
    """Return the names of metrics that a query means, sorted, at once."""
    return at_once(finding_leaves(index, query, budget))


def _search(index: MetricIndex, query: str, budget: FindBudget, branches: bool) -> Slices[Found]:
    _spend(budget, query, _WORK_PER_QUERY + (_WORK_PER_ESCAPED * len(query) if "\\" in query else 0))
    try:
        parts = parse_pattern(query)
    except ValueError as error:
        raise TooBroad(f"Query {_shown(query)}: {error}") from None
    if parts is None:
        return Found()
    alternatives = sum(map(len, parts)) - len(parts)
    _spend(budget, query, _WORK_PER_ALTERNATIVE * alternatives)
    weight = 2 if alternatives and any(_globs(part) > _MANY_GLOBS for part in parts) else 1
    search = index.names.search(parts, budget.matches, budget.work // weight)
    while not search.run(budget.limits.slice_nodes * _WORK_PER_NODE // weight):
        yield
    budget.matches -= len(search)
    budget.work -= search.work * weight
    if search.outcome:
        raise _too_broad(query, budget.limits, search.outcome)
    return Found(*search.columns(), branches)


def _globs(part: tuple[bytes, ...]) -> int:
    """Return how many alternatives must be compared with each name: they cost twice what a look at a node does."""
    return sum(b"*" in text or b"?" in text or b"[" in text for text in part) if len(part) > _MANY_GLOBS else 0


def _spend(budget: FindBudget, query: str, work: int) -> None:
    budget.work -= work
    if budget.work < 0:
        raise _too_broad(query, budget.limits, 2)


def _too_broad(query: str, limits: FindLimits, outcome: int) -> TooBroad:
    bound = f"{limits.matches} matches" if outcome == 1 else f"{limits.nodes} nodes looked at"
    return TooBroad(f"Query {_shown(query)} yields too many results and failed (the limit is {bound})")


def _shown(query: str) -> str:
    return query if len(query) <= _SHOWN else f"{query[:_SHOWN]}..."
