"""Finding names by glob in the index, within limits."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

from cadtwist.errors import CadtwistError
from cadtwist.model.pattern import is_pattern, parse_pattern
from cadtwist.query.index import BRANCH, LEAF, MetricIndex

__all__ = ["FindBudget", "FindLimits", "Match", "QueryError", "TooBroad", "find", "find_leaves"]

_WORK_PER_NODE = 64
_WORK_PER_QUERY = 6_000  # a unit is about a nanosecond
_WORK_PER_ALTERNATIVE = 4_000
_WORK_PER_ESCAPED = 250
_MANY_GLOBS = 4
_SHOWN = 200
_path_of = itemgetter(0)

Match = tuple[str, int]
"""(path, LEAF | BRANCH)"""


class QueryError(CadtwistError):
    """A query cannot be answered as it is; the message says why."""


class TooBroad(QueryError):  # noqa: N818 (as the other errors are named)
    """A query means more than one may ask for at once."""


@dataclass(frozen=True)
class FindLimits:
    """What the queries of one request may cost: `matches` names found, `nodes` of the tree looked at.

    The defaults keep the owner of the index, who does nothing else meanwhile, busy for about a tenth of a second.
    """

    matches: int = 100_000
    nodes: int = 1_500_000

    def budget(self) -> FindBudget:
        """Return what a request may spend."""
        return FindBudget(self, self.matches, self.nodes * _WORK_PER_NODE)


@dataclass
class FindBudget:
    """What is left of the limits to the queries of one request."""

    limits: FindLimits
    matches: int
    work: int


def find(index: MetricIndex, query: str, budget: FindBudget) -> list[Match]:
    """Return what a query means, sorted by path; TooBroad beyond the limits.

    A tagged name (with a semicolon) is looked up exactly.  A trailing dot asks for the branch itself.
    """
    if ";" in query and not query.startswith("_tagged."):
        return [(query, LEAF)] if index.flags(query.encode("utf-8", "replace")) else []
    if query.endswith(".") and len(query) > 1:
        return [(f"{path}.", BRANCH) for path, kind in _search(index, query[:-1], budget) if kind & BRANCH]
    return _search(index, query, budget)


def find_leaves(index: MetricIndex, query: str, budget: FindBudget) -> list[str]:
    """Return the names of metrics that a query means, sorted.

    A tagged name is taken at its word: the index cannot tell it from the hash under which its file may lie.
    """
    if ";" in query and not query.startswith("_tagged."):
        return [query]
    if not is_pattern(query) and index.flags(query.encode("utf-8", "replace")):
        return [query]
    return [path for path, kind in find(index, query, budget) if kind & LEAF]


def _search(index: MetricIndex, query: str, budget: FindBudget) -> list[Match]:
    _spend(budget, query, _WORK_PER_QUERY + (_WORK_PER_ESCAPED * len(query) if "\\" in query else 0))
    try:
        parts = parse_pattern(query)
    except ValueError as error:
        raise TooBroad(f"Query {_shown(query)}: {error}") from None
    if parts is None:
        return []
    _spend(budget, query, _WORK_PER_ALTERNATIVE * (sum(map(len, parts)) - len(parts)))
    weight = 2 if any(_globs(part) > _MANY_GLOBS for part in parts) else 1
    matches, outcome, work = index.names.find(parts, budget.matches, budget.work // weight)
    budget.matches -= len(matches)
    budget.work -= work * weight
    if outcome:
        raise _too_broad(query, budget.limits, outcome)
    matches.sort(key=_path_of)
    return [(path.decode("utf-8", "replace"), kind) for path, kind in matches]


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
