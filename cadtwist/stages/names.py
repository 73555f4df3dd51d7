"""NameMap: the one stage that maps names to names, and the rules for it.

A rule is a pure, readable function of a name.  Adjacent rules go into one NameMap, which asks them once per metric
and applies the answers to whole Batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from zope.interface import implementer

from cadtwist.interfaces import ISink, IStage
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.metricname import canonical
from cadtwist.model.rules import RewriteRule
from cadtwist.stages.decisions import PASS
from cadtwist.stages.renaming import Renaming
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

_TAG_MARKS = (b";", b"{", b"~")

__all__ = ["BlacklistRule", "NameMap", "NameRule", "NormaliseTags", "Outcome", "Rewrite", "WhitelistRule"]


class Outcome(NamedTuple):
    """What becomes of a name: `names`, none = dropped for `reason`; with names `reason` is a remark to count."""

    names: tuple[str, ...]
    reason: str = ""


class NameRule(Protocol):
    """A pure function of a metric name; `label` is how people know it.  None: the name passes as it is."""

    @property
    def label(self) -> str:
        """The rule's name in explanations."""

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""


class BlacklistRule:
    """Drops names in which any pattern is found, with the reason `blacklist`."""

    label = "blacklist"

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        for pattern in self._patterns:
            if pattern.search(name):
                return Outcome((), "blacklist")
        return None


class WhitelistRule:
    """Drops names in which no pattern is found, with the reason `whitelist`; without patterns all pass."""

    label = "whitelist"

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        if not self._patterns or any(pattern.search(name) for pattern in self._patterns):
            return None
        return Outcome((), "whitelist")


class NormaliseTags:
    """Gives tagged names their canonical form; an unparsable one stays as it came and is counted."""

    label = "tags"

    def spares(self, names: bytes) -> bool:
        """Return whether none of these names, one after the other, can be touched: the usual case, told quickly."""
        return not any(mark in names for mark in _TAG_MARKS)

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        try:
            known_as = canonical(name)
        except ValueError:
            return Outcome((name,), "unparsable_tags")
        return None if known_as == name else Outcome((known_as,))


class Rewrite:
    """Applies substitutions in order, each to the result of the one before; an empty result drops (`name`)."""

    label = "rewrite"

    def __init__(self, rules: Iterable[RewriteRule]) -> None:
        self._rules = [(re.compile(rule.pattern), rule.replacement) for rule in rules]

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        written = name
        for pattern, replacement in self._rules:
            written = pattern.sub(replacement, written)
        if not written:
            return Outcome((), "name")
        return None if written == name else Outcome((written,))


def _encoded(name: str) -> bytes:
    """Return a name's bytes; what `surrogateescape` made of bytes that are no UTF-8 becomes them again."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "replace")


def _joined(outcomes: list[Outcome]) -> Outcome:
    """Return what several names become together: each name once, in order, and the first remark."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.names)
    return Outcome(tuple(names), next((outcome.reason for outcome in outcomes if outcome.reason), ""))


@implementer(IStage)
class NameMap(Renaming[Batch]):
    """Applies `rules` in order to the name of every datapoint.  Reactor thread.

    `admit(id, name)`, if given, is asked last about each new name and returns "" or the reason to drop it: the hook
    of cardinality limits.

    A reload: `fresh = old.replaced(rules)`, let the key space hold it, `prime` it over the live ids in slices, let
    the upstream sink deliver into it, then release `old`.
    """

    def __init__(
        self,
        rules: Sequence[NameRule],
        table: tables.MetricTable,
        downstream: ISink,
        account: Account,
        admit: Callable[[int, str], str] | None = None,
    ) -> None:
        super().__init__(table, downstream, account, self._all_pass)
        self.rules = tuple(rules)
        self._admit = admit

    def decide(self, name: str) -> Outcome:
        """Return what becomes of `name`.  Pure."""
        return self._decide(name) or Outcome((name,))

    def _decide(self, name: str) -> Outcome | None:
        """Return what becomes of `name`, None where no rule touches it: so it is for most names."""
        outcome: Outcome | None = None
        for rule in self.rules:
            if outcome is None:
                outcome = rule(name)
            else:
                before, remark = outcome
                outcome = _joined([rule(each) or Outcome((each,)) for each in before])
                if outcome.names and remark and not outcome.reason:
                    outcome = Outcome(outcome.names, remark)
            if outcome is not None and not outcome.names:
                break
        return outcome

    def explain(self, name: str) -> str:
        """Return `decide(name)` as one line for people."""
        outcome = self.decide(name)
        if not outcome.names:
            return f"{name}: dropped ({outcome.reason})"
        result = "passed unchanged" if outcome.names == (name,) else "becomes " + ", ".join(outcome.names)
        return f"{name}: {result}" + (f" ({outcome.reason})" if outcome.reason else "")

    def prime(self, ids: Ids, budget: int) -> int:
        """Decide up to `budget` unknown ids in advance; return how many of `ids` are unknown after that."""
        return self._decisions.prime(ids, budget)

    def replaced(self, rules: Sequence[NameRule]) -> NameMap:
        """Return a stage with other rules in this one's place: same neighbours and account, nothing decided yet."""
        return NameMap(rules, self._table, self.downstream, self._account, self._admit)

    def _all_pass(self, ids: Ids) -> bool:
        """Return whether no rule can touch any of these names, as their bytes tell together."""
        if self._admit is not None or not all(hasattr(rule, "spares") for rule in self.rules):
            return False
        names, _ = self._table.blob(ids)
        return all(rule.spares(names) for rule in self.rules if hasattr(rule, "spares"))

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number).decode("utf-8", "surrogateescape")
        decided = self._decide(name)
        if decided is None and self._admit is None:
            return PASS
        outcome = decided or Outcome((name,))
        reason = outcome.reason
        if outcome.names and self._admit is not None:
            refused = self._admit(number, name)
            outcome, reason = (Outcome((), refused), refused) if refused else (outcome, reason)
        if not outcome.names:
            return self._dropped(reason)
        if reason:
            self._account.count(reason)
        if outcome.names == (name,):
            return PASS
        return self._becomes(number, map(_encoded, outcome.names))
