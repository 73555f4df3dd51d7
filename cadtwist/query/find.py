"""Finding names by glob in the index, within limits."""

from __future__ import annotations

from dataclasses import dataclass

from cadtwist.errors import CadtwistError
from cadtwist.model.pattern import is_pattern, parse_pattern
from cadtwist.query.index import BRANCH, LEAF, MetricIndex

__all__ = ["FindBudget", "FindLimits", "Match", "TooBroad", "find", "find_leaves"]

_WORK_PER_NODE = 64

Match = tuple[str, int]
"""(path, LEAF | BRANCH)"""


class TooBroad(CadtwistError):  # noqa: N818 (as the other errors are named)
    """A query means more than one may ask for at once."""


@dataclass(frozen=True)
class FindLimits:
    """What the queries of one request may cost: `matches` names found, `nodes` of the tree looked at."""

    matches: int = 100_000
    nodes: int = 5_000_000

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
    try:
        parts = parse_pattern(query)
    except ValueError as error:
        raise TooBroad(f"Query {query[:200]}: {error}") from None
    if parts is None:
        return []
    matches, outcome, work = index.names.find(parts, budget.matches, budget.work)
    budget.matches -= len(matches)
    budget.work -= work
    if outcome:
        limits = budget.limits
        bound = f"{limits.matches} matches" if outcome == 1 else f"{limits.nodes} nodes looked at"
        raise TooBroad(f"Query {query} yields too many results and failed (the limit is {bound})")
    return sorted((path.decode("utf-8", "replace"), kind) for path, kind in matches)
