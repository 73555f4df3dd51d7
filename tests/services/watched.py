"""A reactor for what listens to descriptors by itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

__all__ = ["WatchedReactor"]


class WatchedReactor(Clock):
    """A clock that remembers what is watched."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)
