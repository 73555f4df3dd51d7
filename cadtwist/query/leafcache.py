"""What patterns meant the last time, as long as no name came or went: dashboards ask for the same again and again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from cadtwist.model.batch import NO_ID, Floats, Ids
from cadtwist.query.resolution import Piece, SchemaInfo

__all__ = ["HotColumns", "LeafCache", "Leaves", "leaves_of"]

HotColumns = tuple[Ids, Floats, Floats]
"""Points in memory: (offsets, timestamps, values)."""

_MOST_NAMES = 50_000
_MOST_OF_ONE = 5_000
_LONGEST = 1_000


@dataclass(frozen=True)
class Leaves:
    """The metrics that a pattern means, sorted by name, as columns; not to be changed.

    `schema_numbers` are uint32, the places of their schemas in `schemas`, empty: all have the first.  Under `ids` their
    points wait, NO_ID: none do; `has_numbers`: of some they may.  `slacks` are the seconds of their coarsest slots.
    """

    names: list[str]
    schemas: list[SchemaInfo]
    schema_numbers: bytes
    ids: Ids
    slacks: Floats
    has_numbers: bool

    def __len__(self) -> int:
        return len(self.names)

    def piece(self, number: int, low: int, high: int, found: HotColumns | None) -> Piece:
        """Return those from `low` to `high` as a piece of pattern `number`, with what was found of them in memory."""
        whole = high - low == len(self.names)
        names = self.names if whole else self.names[low:high]
        numbers = self.schema_numbers if whole else self.schema_numbers[4 * low : 4 * high]
        told = b"", b"", b""
        if found is not None and len(found[1]):
            told = found[0].tobytes(), found[1].tobytes(), found[2].tobytes()
        return Piece(number, names, self.schemas, numbers, *told, self.ids[low:high].tobytes())


def leaves_of(names: list[str], schemas: list[SchemaInfo], numbers: bytes, ids: Ids) -> Leaves:
    """Return metrics as `Leaves`, with the slacks of their schemas."""
    slacks = np.array([schema.archives[-1][0] for schema in schemas], np.float64)
    places = np.frombuffer(numbers, np.uint32) if numbers else np.zeros(len(names), np.uint32)
    known = len(ids) > 0 and int(ids.min()) != NO_ID
    return Leaves(names, schemas, numbers, ids, slacks[places], known)


class LeafCache:
    """Keeps what patterns mean: at most 50,000 names altogether, the least recently asked for go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Leaves] = OrderedDict()
        self._names = 0
        self._version: object = None

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, pattern: str, version: object) -> Leaves | None:
        """Return the metrics of a pattern; None where they are not known for this version."""
        if version != self._version:
            self._kept.clear()
            self._names, self._version = 0, version
            return None
        found = self._kept.get(pattern)
        if found is not None:
            self._kept.move_to_end(pattern)
        return found

    def put(self, pattern: str, version: object, leaves: Leaves) -> None:
        """Keep the metrics of a pattern, if `version` is still that of the last question."""
        if version != self._version or len(leaves) > _MOST_OF_ONE or len(pattern) > _LONGEST:
            return
        known = self._kept.pop(pattern, None)
        self._names += len(leaves) + 1 - (0 if known is None else len(known) + 1)
        self._kept[pattern] = leaves
        while self._names > _MOST_NAMES:
            _, gone = self._kept.popitem(last=False)
            self._names -= len(gone) + 1
