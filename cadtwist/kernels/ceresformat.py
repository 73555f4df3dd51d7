"""The layout of a ceres tree and the numbers both twins of the ceres kernel speak in.

A tree is a folder that holds a folder `.ceres-tree`.  A metric, a node, is a folder below it: its name with `/` for
each `.`, in which the file `.ceres-node` is a JSON object that names at least the `timeStep` (seconds per point).  The
points are in slices, files `<start>@<step>.slice` of float64, big-endian, value i at start + i * step; a gap is NaN.
A slice ends where its file ends.  A node may have slices of other steps, which tools made of its points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cadtwist.kernels.whisperformat import (
    BAD_NAME,
    CREATED,
    MAX_ARCHIVES,
    QUARANTINED,
    REPORT_HEALED,
    REPORT_MISMATCH,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    RETRY,
    TOO_OLD,
    WAITS_FOR_CREATE,
    WRITTEN,
    relative_path,
)

__all__ = [
    "BAD_NAME",
    "COUNTERS",
    "CREATED",
    "DEFAULT_GAP",
    "MAX_NODE_BYTES",
    "MAX_TIME",
    "NODE_FILE",
    "POINT_BYTES",
    "QUARANTINED",
    "REPORT_HEALED",
    "REPORT_MISMATCH",
    "REPORT_QUARANTINED",
    "REPORT_RETRY",
    "RETRY",
    "TOO_OLD",
    "TREE_FOLDER",
    "TRIES",
    "TRUSTED_S",
    "WAITS_FOR_CREATE",
    "WRITTEN",
    "CorruptNodeError",
    "Node",
    "node_text",
    "parse_node",
    "properties_text",
    "relative_folder",
    "slice_name",
    "slice_of",
    "slices_of_step",
]

TREE_FOLDER = ".ceres-tree"
NODE_FILE = b".ceres-node"
POINT_BYTES = 8

DEFAULT_GAP = 80
"""Points by which a write may begin behind the end of a slice; what lies between is filled with NaN."""

MAX_TIME = 0xFFFFFFFF
MAX_NODE_BYTES = 1 << 16

TRIES = 4
"""How often a metric is looked at when its files vanish or appear under our hands."""

TRUSTED_S = 2
"""A folder that changed less than so many seconds ago may change again without its time showing it."""

COUNTERS = (
    "updates", "points", "late", "created", "waiting", "retried", "quarantined", "bad_names",
    "healed", "mismatched", "opened", "reused", "reopened", "slices", "vanished", "renamed",
)  # fmt: skip
"""Names of what a Writer counts.

`late` is points whose time no slice can have; `opened` nodes whose folders were read, `reused` those that were known,
`reopened` those that had changed; `slices` files made; `vanished` times that a file went while it was to be written.
"""

_SLICE = re.compile(rb"([0-9]{1,18})@([0-9]{1,10})\.slice")
_ABSENT = object()


class CorruptNodeError(Exception):
    """The file `.ceres-node` does not say what a node must say."""


class Node(NamedTuple):
    """What a node says of itself: seconds per point, method, share of known points and (step, points) per archive.

    Only `step` is always there: `method` may be empty, `xff` None and `archives` empty.  `properties` is all of it.
    """

    step: int
    method: str
    xff: float | None
    archives: tuple[tuple[int, int], ...]
    properties: dict[str, Any]


def properties_text(properties: Mapping[str, Any]) -> bytes:
    """Return the contents of a node's file."""
    return json.dumps(dict(properties)).encode("ascii")


def node_text(archives: Sequence[tuple[int, int]], xff: float, method: str) -> bytes:
    """Return the file of a node that is kept in these (step, points) archives, as carbon makes it.

    ValueError for archives that no node can have.
    """
    text = properties_text(
        {
            "retentions": [[int(step), int(points)] for step, points in archives],
            "timeStep": int(archives[0][0]) if archives else 0,
            "xFilesFactor": xff,
            "aggregationMethod": method,
        }
    )
    try:
        parse_node(text)
    except CorruptNodeError as error:
        raise ValueError(str(error)) from None
    return text


def parse_node(data: bytes) -> Node:
    """Read the file of a node; CorruptNodeError where it is none."""
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptNodeError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CorruptNodeError("no JSON object")
    step = _whole(found.get("timeStep", _ABSENT))
    if not 1 <= step <= MAX_TIME:
        raise CorruptNodeError("timeStep is missing or no number of seconds")
    method = found.get("aggregationMethod")
    archives = tuple(_archives(found.get("retentions")))
    return Node(step, method if isinstance(method, str) else "", _share(found.get("xFilesFactor")), archives, found)


def _whole(value: object) -> int:
    """Return a number or the text of one as int, as the original reads it; -1 for anything else."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return -1


def _share(value: object) -> float | None:
    """Return a number from 0 to 1, None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


def _archives(value: object) -> Iterable[tuple[int, int]]:
    if not isinstance(value, list) or len(value) > MAX_ARCHIVES:
        return
    for pair in value:
        if isinstance(pair, list) and len(pair) == 2 and min(map(_whole, pair)) > 0:
            yield _whole(pair[0]), _whole(pair[1])


def relative_folder(name: bytes, hashed: bool = True) -> bytes:
    """Return the folder of a metric below the root: a whisper file's path without its end.

    ValueError where there can be none.
    """
    folder = relative_path(name, hashed)[:-4].rstrip(b"/")
    if not folder:
        raise ValueError("no folder can have this name")
    return folder


def slice_name(start: int, step: int) -> bytes:
    """Return the name of the file of the slice from `start` (epoch seconds) on."""
    return b"%d@%d.slice" % (start, step)


def slice_of(name: bytes) -> tuple[int, int] | None:
    """Return (start, step) of a slice by its file's name, None for any other file."""
    found = _SLICE.fullmatch(name)
    return (int(found[1]), int(found[2])) if found and int(found[2]) else None


def slices_of_step(names: Iterable[bytes], step: int) -> list[int]:
    """Return the starts of the slices of one step among files, newest first."""
    found = filter(None, map(slice_of, names))
    return sorted((start for start, own in found if own == step), reverse=True)
