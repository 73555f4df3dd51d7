"""What is in whisper files, read without any library: a second opinion on our own kernels."""

from __future__ import annotations

import os
import struct
from pathlib import Path

__all__ = ["PER_FOLDER", "archives", "many_files", "path_of", "points"]

PER_FOLDER = 50
"""How many files of `many_files` share a folder."""
LINKS = 30_000


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


def many_files(root: Path, count: int) -> None:
    """Make `count` whisper files `site.h<i>.m<j>`: further names of a few real ones, so that it takes seconds."""
    head = struct.pack(">LLfL", 1, 3600, 0.0, 1) + struct.pack(">LLL", 28, 60, 60)
    source = root / "source"
    root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        folder = root / "site" / f"h{number // PER_FOLDER}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        if number % LINKS == 0:
            source.unlink(missing_ok=True)
            source.write_bytes(head + bytes(12 * 60))
        os.link(source, folder / f"m{number % PER_FOLDER}.wsp")
    source.unlink(missing_ok=True)
