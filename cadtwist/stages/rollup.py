"""Which counters a sample is for: carets in its name, and the levels above it that are to add it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import implementer

from cadtwist.codec.istat import expanded
from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.decisions import PASS
from cadtwist.stages.renaming import Renaming
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["NameRule", "NameSpread", "carets", "levels_above"]

NameRule = Callable[[bytes], tuple[bytes, ...]]
"""A pure function of a name: the names it stands for."""


def carets(name: bytes) -> tuple[bytes, ...]:
    """Return the counters that a name with carets means."""
    return expanded(name)


def levels_above(levels: int) -> NameRule:
    """Return the rule of `--rollup`: a name and up to `levels` of those above it, each with the `*` of events."""

    def rule(name: bytes) -> tuple[bytes, ...]:
        names = [name]
        for _ in range(levels):
            name = name.rpartition(b".")[0]
            if not name.strip(b"*."):
                break
            names.append(name)
        return tuple(names)

    return rule


@implementer(ISummarySink, IHolder)
class NameSpread(Renaming[SummaryBatch]):
    """Gives each sample to all names that `rule` makes of its own; drops a name that means nothing (`name`)."""

    def __init__(self, rule: NameRule, table: tables.MetricTable, downstream: ISummarySink, account: Account) -> None:
        super().__init__(table, downstream, account)
        self._rule = rule

    def decide(self, name: bytes) -> tuple[bytes, ...]:
        """Return the names that `name` stands for.  Pure."""
        return self._rule(name)

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number)
        names = tuple(dict.fromkeys(self._rule(name)))
        if names == (name,):
            return PASS
        return self._becomes(number, names) if names else self._dropped("name")
