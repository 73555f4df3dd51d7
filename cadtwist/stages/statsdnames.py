"""GraphiteTeller: the values of a statsd flush become datapoints of Graphite's names.

The names of a series are made and interned once, in a kernel; a flush then only looks them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import sanitised
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Batch, Floats, Ids
from cadtwist.model.iduses import IdUses
from cadtwist.model.told import Told
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["Fields", "GraphiteTeller", "Naming", "Telling"]

_NO_SLOT = -1
_NAMES_EACH = {"c": 2, "ms": 14, "g": 1, "s": 1, "kv": 1}
_WORTH_RESERVING = 10_000


class Naming(Protocol):
    """Knows where series go in Graphite's tree."""

    def affixes(self, kind: str, field: str) -> tuple[str, str] | None:
        """Return what stands before and after the key in the name of a field; None where it is not told."""


class Fields(NamedTuple):
    """The fields of one kind and group that are told: columns of `Told`, and what stands around the key in names."""

    columns: npt.NDArray[np.intp]
    prefixes: list[bytes]
    suffixes: list[bytes]


@dataclass(frozen=True)
class Telling:
    """Under which names of Graphite a flush is told.

    `source` is the key space of the series.  `own` names a series in which statsd tells of itself, `status` gives the
    values of some of them.  `raw_keys`: the keys are not sanitised, so what stands before their tags is now.
    """

    source: tables.MetricTable
    naming: Naming
    own: Callable[[str], str] | None = None
    status: Callable[[], dict[str, float]] = dict
    raw_keys: bool = False

    def fields(self, told: Told) -> Fields:
        """Return the fields that are told of series of this kind and group."""
        chosen = [
            (column, affixes)
            for column, field in enumerate(told.fields)
            if (field or told.kind != "ms") and (affixes := self.naming.affixes(told.kind, field)) is not None
        ]
        return Fields(
            np.array([column for column, _ in chosen], np.intp),
            [before.encode() for _, (before, _) in chosen],
            [after.encode() for _, (_, after) in chosen],
        )

    def keys(self, ids: Ids) -> tuple[bytes, Ids]:
        """Return the names `KEY|TYPE` of series in one text, and where each of them begins."""
        blob, offsets = self.source.blob(ids)
        return _clean(blob, offsets) if self.raw_keys else (blob, offsets)

    def figures(self, counts: dict[str, float]) -> dict[bytes, float]:
        """Return what statsd tells of itself at the end of a flush, by name; nothing if it does not."""
        if self.own is None or not counts:
            return {}
        status = self.status()
        figures = {
            "numStats": counts["c"] + counts["ms"] + counts["g"] + counts["s"],
            "graphiteStats.calculationtime": round(counts["calculation_ms"]),
            "processing_time": status.get("processing_time", 0.0),
            **{f"graphiteStats.{what}": status.get(what, 0.0)
               for what in ("last_exception", "last_flush", "flush_time", "flush_length")},
        }  # fmt: skip
        return {self.own(field).encode(): value for field, value in figures.items()}


class _Family:
    """The names of all series of one kind and group: a slot of ids for each."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.names: Ids = np.zeros((0, len(fields.columns)), np.uint32)
        self._free: list[int] = []
        self._high = 0

    def slots(self, count: int) -> npt.NDArray[np.int32]:
        """Return `count` free slots."""
        found = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = range(self._high, self._high + count - len(found))
        self._high += len(fresh)
        if self._high > len(self.names):
            more = self._high + self._high // 4 + 64 - len(self.names)
            self.names = np.concatenate((self.names, np.full((more, self.names.shape[1]), NO_ID, np.uint32)))
        return np.array([*found, *fresh], np.int32)

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return self._high - len(self._free)

    def give_back(self, slots: list[int]) -> None:
        """Let slots be used again."""
        self._free += slots


@implementer(IHolder)
class GraphiteTeller:
    """Names what a flush tells and passes it on as Batches of the key space `table`.  Reactor thread.

    An IHolder of `table`: a name is claimed as long as its series lives.
    """

    def __init__(self, telling: Telling, table: tables.MetricTable, downstream: ISink, account: Account) -> None:
        self.downstream = downstream
        self._telling = telling
        self._table = table
        self._account = account
        self._families: dict[tuple[str, int], _Family] = {}
        self._slots: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._family_of: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._uses = IdUses()

    def begin(self, series: dict[str, int]) -> None:
        """Make room for the names of many new series at once."""
        for kind, count in series.items():
            families = [family for (its, _), family in self._families.items() if its == kind]
            fresh = count - sum(family.taken for family in families)
            if fresh > _WORTH_RESERVING:
                names = max((family.names.shape[1] for family in families), default=_NAMES_EACH[kind])
                self._table.reserve(fresh * names)

    def tell(self, told: Told, timestamp: float) -> int:
        """Pass values on; return how many datapoints that made."""
        if not len(told.ids):
            return 0
        key = (told.kind, told.group)
        family = self._families.get(key)
        if family is None:
            family = self._families[key] = _Family(self._telling.fields(told))
        slots = self._slots_of(told.ids, family, list(self._families).index(key), timestamp)
        ids, values = family.names[slots], told.values[:, family.fields.columns]
        there = np.isfinite(values)
        self._count("not_finite", np.isinf(values))
        named = ids != NO_ID
        self._count("table_full", there & ~named)
        there &= named
        return self._pass_on(ids[there], values[there], timestamp)

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        """End a flush, with what the window tells of itself, if it does; return how many datapoints that made."""
        figures = self._telling.figures(counts)
        ids = np.array([self._table.intern(name, int(timestamp)) for name in figures], np.uint32)
        good = ids != NO_ID
        return self._pass_on(ids[good], np.array(list(figures.values()), np.float64)[good], timestamp)

    def forget(self, ids: Ids) -> None:
        """Series are gone (ids of `source`), or statsd's names are (ids of `table`, where nothing is kept by them)."""
        ids = ids[ids < len(self._slots)]
        families = list(self._families.values())
        for number in ids[self._slots[ids] != _NO_SLOT].tolist():
            family, slot = families[self._family_of[number]], int(self._slots[number])
            names = family.names[slot]
            self._uses.remove(names[names != NO_ID])
            family.give_back([slot])
            self._slots[number] = _NO_SLOT

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the names of living series (ids of `table`)."""
        return self._uses.used(ids)

    def _count(self, reason: str, where: npt.NDArray[np.bool_]) -> None:
        values = int(np.count_nonzero(where))
        if values:
            self._account.count(reason, values)

    def _pass_on(self, ids: Ids, values: Floats, timestamp: float) -> int:
        stamps = np.full(min(len(ids), BATCH_POINTS), timestamp)
        for start in range(0, len(ids), BATCH_POINTS):
            part = ids[start : start + BATCH_POINTS]
            self.downstream.accept(Batch(part, stamps[: len(part)], values[start : start + BATCH_POINTS]))
        return len(ids)

    def _slots_of(self, ids: Ids, family: _Family, number: int, timestamp: float) -> npt.NDArray[np.int32]:
        """Return the slots of series, whose names are interned if they are new."""
        highest = int(ids.max())
        if highest >= len(self._slots):
            more = highest + highest // 4 + 1024 - len(self._slots)
            self._slots = np.concatenate((self._slots, np.full(more, _NO_SLOT, np.int32)))
            self._family_of = np.concatenate((self._family_of, np.zeros(more, np.uint8)))
        slots = self._slots[ids]
        fresh = ids[slots == _NO_SLOT]
        if len(fresh):
            fresh = np.array(list(dict.fromkeys(fresh.tolist())), np.uint32)
            self._slots[fresh] = given = family.slots(len(fresh))
            self._family_of[fresh] = number
            family.names[given] = self._named(fresh, family, timestamp)
            slots = self._slots[ids]
        return slots

    def _named(self, ids: Ids, family: _Family, timestamp: float) -> Ids:
        """Intern the names of series: a row of ids each."""
        blob, offsets = self._telling.keys(ids)
        columns, prefixes, suffixes = family.fields
        names = np.zeros((len(ids), len(columns)), np.uint32)
        active.statsdparse.intern_outputs(self._table, blob, offsets, prefixes, suffixes, names, timestamp)
        self._uses.add(names[names != NO_ID])
        return names


def _clean(blob: bytes, offsets: Ids) -> tuple[bytes, Ids]:
    """Return names `KEY|TYPE` whose keys are sanitised up to their first `;`."""
    ends, names = offsets.tolist(), []
    for start, end in pairwise(ends):
        key, _, kind = blob[start:end].decode("utf-8").rpartition("|")
        head, mark, tags = key.partition(";")
        names.append(f"{sanitised(head)}{mark}{tags}|{kind}".encode())
    sizes = np.zeros(len(names) + 1, np.uint32)
    np.cumsum([len(name) for name in names], out=sizes[1:])
    return b"".join(names), sizes
