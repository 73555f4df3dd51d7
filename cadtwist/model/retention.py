"""Retentions: how long and how finely a metric is kept, their text forms, and the rules that name them.

No I/O.  Two grammars of `precision:length` exist: carbon's (`storage-schemas.conf`) and the laxer one of whisper's
tools; both are here.  A configuration loader makes `SchemaRule`s and `AggregationRule`s;
`cadtwist.storage.schemas` applies them to names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "DEFAULT_ARCHIVES",
    "MAX_U32",
    "AggregationRule",
    "Archive",
    "SchemaRule",
    "checked_archives",
    "parse_retention",
    "parse_retentions",
    "parse_whisper_retention",
]

MAX_U32 = 0xFFFFFFFF
_UNITS = (
    ("seconds", 1),
    ("minutes", 60),
    ("hours", 3600),
    ("days", 86400),
    ("weeks", 604800),
    ("years", 31536000),
)
_AMOUNT = re.compile(r"([0-9]{1,10})([a-z]*)")
_HEADER_BYTES = 16
_ARCHIVE_INFO_BYTES = 12
_POINT_BYTES = 12
_MAX_ARCHIVES = 64


class Archive(NamedTuple):
    """One retention policy: `step` seconds per point, kept for `points` points."""

    step: int
    points: int

    @property
    def retention(self) -> int:
        """Seconds that the archive covers."""
        return self.step * self.points


DEFAULT_ARCHIVES: tuple[Archive, ...] = (Archive(60, 10080),)
"""What carbon gives to a metric that no schema matches: a minute for a week."""


@dataclass(frozen=True)
class SchemaRule:
    """One section of storage-schemas: names in which `pattern` is found are kept in `archives`.

    Archives are as `checked_archives` returns them.  A higher `priority` is asked first (carbon knows none: 0).
    """

    name: str
    pattern: re.Pattern[str]
    archives: tuple[Archive, ...]
    priority: int = 0


@dataclass(frozen=True)
class AggregationRule:
    """One section of storage-aggregation; None stands for whisper's default (0.5 and average)."""

    name: str
    pattern: re.Pattern[str]
    xff: float | None
    method: str | None


def parse_retention(text: str) -> Archive:
    """Read one `precision:length` in carbon's grammar: digits, or digits and one of s m h d w y.

    ValueError tells what is wrong with the text; whether the archive is usable is `checked_archives`' affair.
    """
    return _parse(text, _carbon_unit)


def parse_whisper_retention(text: str) -> Archive:
    """Read one `precision:length` in the grammar of whisper's tools, which takes any prefix of a unit's word."""
    return _parse(text, _whisper_unit)


def parse_retentions(text: str) -> tuple[Archive, ...]:
    """Read a comma list of carbon retentions and check it; ValueError tells the first fault."""
    return checked_archives(parse_retention(item) for item in text.split(","))


def checked_archives(archives: Iterable[tuple[int, int]]) -> tuple[Archive, ...]:
    """Return the archives sorted by precision, or raise ValueError where whisper could not keep them.

    Beyond whisper's own rules, a precision or a number of points of zero is refused, and so is what does not fit
    into the 32-bit fields of the file.
    """
    found = tuple(Archive(*archive) for archive in sorted(archives, key=lambda archive: archive[0]))
    if not found:
        raise ValueError("at least one archive is needed")
    if len(found) > _MAX_ARCHIVES:
        raise ValueError(f"{len(found)} archives; at most {_MAX_ARCHIVES} are possible")
    size = _HEADER_BYTES + _ARCHIVE_INFO_BYTES * len(found)
    for archive in found:
        if archive.step < 1 or archive.points < 1:
            raise ValueError(f"{_shown(archive)}: precision and number of points must be at least 1")
        if archive.retention > MAX_U32 or size > MAX_U32:
            raise ValueError(f"{_shown(archive)}: too long for a whisper file")
        size += _POINT_BYTES * archive.points
    for finer, coarser in itertools.pairwise(found):
        _check_pair(finer, coarser)
    return found


def _check_pair(finer: Archive, coarser: Archive) -> None:
    pair = f"{_shown(finer)}, {_shown(coarser)}"
    if finer.step == coarser.step:
        raise ValueError(f"{pair}: two archives of the same precision")
    if coarser.step % finer.step:
        raise ValueError(f"{pair}: the finer precision must divide the coarser")
    if coarser.retention <= finer.retention:
        raise ValueError(f"{pair}: the coarser archive must reach further back")
    if finer.points < coarser.step // finer.step:
        raise ValueError(f"{pair}: the finer archive has too few points to fill one of the coarser")


def _shown(archive: Archive) -> str:
    return f"{archive.step}:{archive.points}"


def _carbon_unit(text: str) -> int:
    for word, seconds in _UNITS:
        if text == word[0]:
            return seconds
    raise ValueError(f"invalid unit {text!r}")


def _whisper_unit(text: str) -> int:
    for word, seconds in _UNITS:
        if word.startswith(text):
            return seconds
    raise ValueError(f"invalid unit {text!r}")


def _parse(text: str, unit: Callable[[str], int]) -> Archive:
    parts = text.strip().split(":")
    if len(parts) != 2:
        raise ValueError(f"invalid retention {text.strip()!r}: precision:length expected")
    precision, length = (_AMOUNT.fullmatch(part) for part in parts)
    if precision is None:
        raise ValueError(f"invalid precision {parts[0]!r}")
    if length is None:
        raise ValueError(f"invalid length {parts[1]!r}")
    step = int(precision[1]) * (unit(precision[2]) if precision[2] else 1)
    if not length[2]:
        return Archive(step, int(length[1]))
    if step == 0:
        raise ValueError(f"invalid precision {parts[0]!r}: zero")
    return Archive(step, int(length[1]) * unit(length[2]) // step)
