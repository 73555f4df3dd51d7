"""What a disk says of the files of a metric."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FileFacts", "Retention"]


class Retention(NamedTuple):
    """How a file keeps its metric: archives of (step in seconds, points), aggregation method and xFilesFactor."""

    archives: tuple[tuple[int, int], ...]
    method: str
    xff: float


class FileFacts(NamedTuple):
    """Bytes that the files have and that they take on the disk; when they were changed and read (epoch seconds)."""

    size: int
    stored: int
    changed: int
    read: int

    def joined(self, other: FileFacts) -> FileFacts:
        """Return the same of all files of two."""
        size, stored = self.size + other.size, self.stored + other.stored
        return FileFacts(size, stored, max(self.changed, other.changed), max(self.read, other.read))
