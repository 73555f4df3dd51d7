"""What is in whisper files, read without any library: a second opinion on our own kernels."""

from __future__ import annotations

import struct
from pathlib import Path

__all__ = ["archives", "path_of", "points"]


def path_of(root: Path, metric: str) -> Path:
    """Return where carbon keeps an untagged metric."""
    return root / (metric.replace(".", "/") + ".wsp")


def archives(path: Path) -> dict[int, dict[int, float]]:
    """Return {seconds per point: {timestamp: value}} of a whisper file; empty slots are left out."""
    data = path.read_bytes()
    (count,) = struct.unpack_from(">L", data, 12)
    found: dict[int, dict[int, float]] = {}
    for k in range(count):
        offset, step, slots = struct.unpack_from(">LLL", data, 16 + 12 * k)
        flat = struct.unpack_from(">" + "Ld" * slots, data, offset)
        found[step] = {flat[i]: flat[i + 1] for i in range(0, 2 * slots, 2) if flat[i]}
    return found


def points(root: Path, metric: str) -> dict[int, float]:
    """Return {timestamp: value} of the finest archive; empty where there is no file."""
    path = path_of(root, metric)
    if not path.exists():
        return {}
    found = archives(path)
    return found[min(found)]
