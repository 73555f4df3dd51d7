"""Spools that nobody uses any more, since the number of workers has changed: their lines go on from here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from cadtwist.config.relaymodel import DestinationProtocol
from cadtwist.errors import StorageError
from cadtwist.journal.backlog import Backlog
from cadtwist.net.destination import Destination
from cadtwist.telemetry import Account

__all__ = ["Orphans", "former_folders", "orphaned", "spool_folder", "worker_folder"]

_WORKER = "worker-"
_TICK_S = 0.1
_TICK_BYTES = 1 << 20
_HALF_FULL = 0.5
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def spool_folder(name: str, protocol: DestinationProtocol) -> str:
    """Return the folder of a destination below the spool's: its name, other characters as their hexadecimal codes.

    What is no lines stands apart: nothing is ever sent to who would not understand it.
    """
    plain = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02x}", name).replace("..", "%2e%2e") or "%"
    return plain if protocol == "line" else f"{plain}={protocol}"


def worker_folder(directory: str, number: int) -> str:
    """Return the folder of the spools of worker `number`."""
    return os.path.join(directory, f"{_WORKER}{number}")


def orphaned(directory: str, workers: int) -> list[str]:
    """Return the folders below `directory` that hold spools of other numbers of workers.

    With one process the spools lie in `directory` itself.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    mine = {f"{_WORKER}{number}" for number in range(workers)} if workers > 1 else set[str]()
    others = [name for name in names if name.startswith(_WORKER) and name not in mine]
    found = [os.path.join(directory, name) for name in others]
    if workers > 1 and any(not name.startswith(_WORKER) for name in names):
        found.append(directory)
    return found


def former_folders(directory: str, folder: str) -> list[str]:
    """Return the names of the folders below `directory` that followed `folder` when its destination was made anew."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [name for name in names if re.fullmatch(re.escape(folder) + r"~[0-9]+", name)]


class Orphans(Service):
    """Gives what orphaned spools have to the queues of the same destinations, a part at a time.  Reactor thread.

    `folder_of(name)` is the name of a destination's folder within each of `folders`.  A folder of a destination that
    is not configured any more stays, and so does the rest of one that goes meanwhile.  `all_former`: the folders that
    followed it are moved as well.
    """

    name = "orphaned spools"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        folders: Iterable[str],
        folder_of: Mapping[str, str],
        destinations: Mapping[str, Destination],
        account: Account,
        all_former: bool = False,
    ) -> None:
        self._reactor = reactor
        self._folders = list(folders)
        self._folder_of = folder_of
        self._destinations = destinations
        self._account = account
        self._all_former = all_former
        self._call: IDelayedCall | None = None
        self._work: Iterator[None] = iter(())

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._work = self._moved()
        self._tick()

    def stopService(self) -> None:
        """What was not moved stays for the next start."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._work.close() if hasattr(self._work, "close") else None

    def _tick(self) -> None:
        self._call = None
        if next(self._work, self) is not self:
            self._call = self._reactor.callLater(_TICK_S, self._tick)

    def _moved(self) -> Iterator[None]:
        for folder in self._folders:
            for name, below in self._folder_of.items():
                for each in (below, *(former_folders(folder, below) if self._all_former else ())):
                    path = os.path.join(folder, each)
                    if os.path.isdir(path):
                        yield from self._moved_one(path, name)

    def _moved_one(self, path: str, name: str) -> Iterator[None]:
        """Move the chunks of one folder, then remove it."""
        try:
            backlog = Backlog(path)
        except (OSError, StorageError) as error:
            self._log.error("the spool {path} cannot be read: {error}", path=path, error=error)
            return
        moved = size = 0
        try:
            while (present := self._destinations.get(name)) is not None:
                chunk = backlog.next(self._reactor.seconds())
                if chunk is None:
                    break
                present.send(chunk.data, chunk.points)
                if chunk.place is not None:
                    backlog.passed(chunk.place)
                moved += chunk.points
                size += len(chunk.data)
                self._account.made += chunk.points
                self._account.out += chunk.points
                if size >= _TICK_BYTES:
                    size = 0
                    yield
                    while name in self._destinations and self._destinations[name].spool.level > _HALF_FULL:
                        yield
        finally:
            backlog.write_cursor()
            empty = backlog.empty
            backlog.close()
        if empty:
            shutil.rmtree(path, ignore_errors=True)
        self._log.info("{moved} datapoints of the orphaned spool {path} go on", moved=moved, path=path)
