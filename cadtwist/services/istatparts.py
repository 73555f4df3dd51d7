"""What a counter daemon's doors are given to work with: the answers to HTTP and to administrators."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred

from cadtwist.cache.counters import CounterCache
from cadtwist.config.istatmodel import DEBUG_OPTIONS
from cadtwist.errors import StorageError
from cadtwist.kernels.regularfile import open_regular
from cadtwist.kernels.statformat import munge
from cadtwist.model.batch import NO_ID
from cadtwist.model.statjob import SampleColumns, Shift
from cadtwist.query.countertree import CounterTree
from cadtwist.query.istat import Cells, Selection, select, select_interval
from cadtwist.services.counterwriter import CounterWriter
from cadtwist.services.replica import Replica
from cadtwist.storage.settings import FileSettings, RedisSettings
from cadtwist.storage.statfile import StatStore
from cadtwist.web.istat import MOST_FILE_BYTES, Listed, Selected, SettingsBackend, StatFile

__all__ = ["Answers", "IstatClock", "Orders"]

Settings = FileSettings | RedisSettings


class IstatClock:
    """The time, epoch seconds; it stands still where a time was given, until that is changed."""

    def __init__(self, reactor: Any, fake: int = 0) -> None:
        self.fake = fake
        self._reactor = reactor

    def __call__(self) -> float:
        """Return the time."""
        return float(self.fake or self._reactor.seconds())


class Answers:
    """The Backend of HTTP.  `store` and what belongs to it are None in a daemon that only forwards."""

    def __init__(
        self,
        clock: IstatClock,
        settings: SettingsBackend,
        agents: Callable[[], Sequence[Mapping[str, object]]],
        files_dir: str,
        compat: bool,
    ) -> None:
        self.compat = compat
        self.settings = settings
        self.tree: CounterTree | None = None
        self.store: StatStore | None = None
        self.cache: CounterCache | None = None
        self.writer: CounterWriter | Replica | None = None
        self.agents = agents
        self._clock = clock
        self._files_dir = files_dir

    def now(self) -> int:
        """Return the time."""
        return int(self._clock())

    @property
    def local(self) -> Answers:
        """There are no other shards here."""
        return self

    async def matching(self, pattern: str) -> Listed:
        """Return the levels of counters that a pattern matches."""
        return Listed([] if self.tree is None else self.tree.matching(pattern))

    async def all_agents(self) -> Sequence[Mapping[str, object]]:
        """Return what is known of each connection."""
        return self.agents()

    async def select_many(
        self, names: Sequence[str], start: int, end: int, most: int, trailing: bool
    ) -> list[Selected]:
        """Return the cells of each counter."""
        return [await self.select(name, start, end, most, trailing) for name in names]

    async def select(self, name: str, start: int, end: int, most: int, trailing: bool) -> Selection | None:
        """Return a counter's cells: those in its files, and the samples that wait."""
        counter = munge(name.encode("utf-8", "replace"))
        if self.tree is None or self.cache is None or self.writer is None:
            return None
        if counter.decode("ascii") not in self.tree:
            return None
        number, asked = self.cache.counter_of(counter), (start, end, self.now(), most, trailing)
        found = await self.writer.read(self._read, counter, number, self._waiting(number), asked)
        if found is None:
            await self.writer.flush(Shift.NONE)
            found = await self.writer.read(self._read, counter, number, self._waiting(number), asked)
        return found

    async def cells(self, counters: Sequence[str], interval: int, start: int, end: int) -> list[Cells | None]:
        """Return the cells of each counter in its file of `interval` seconds, with the samples that wait.

        New counters are given their files first.
        """
        if self.cache is None or self.writer is None:
            return [None for _ in counters]
        asked = [(counter.encode("ascii", "replace"), self.cache.counter_of(counter.encode())) for counter in counters]
        for last in (False, True):
            waiting = [self._waiting(number) for _, number in asked]
            found = await self.writer.read(self._read_all, asked, waiting, interval, start, end)
            new = any(
                cells is None and some is not None and len(some[0])
                for cells, some in zip(found, waiting, strict=True)
            )
            if last or not new:
                break
            await self.writer.flush(Shift.NONE)
        return found

    def _read_all(
        self, asked: Sequence[tuple[bytes, int]], waiting: Sequence[SampleColumns | None], *span: int
    ) -> list[Cells | None]:
        """Run in the thread of the files; a counter whose files cannot be read has no cells."""
        found: list[Cells | None] = []
        for (counter, number), samples in zip(asked, waiting, strict=True):
            try:
                with self._reader(counter, number, samples) as reader:
                    found.append(select_interval(reader.headers(), reader.cells, *span))
            except StorageError:
                found.append(None)
        return found

    @contextmanager
    def _reader(self, counter: bytes, number: int, waiting: SampleColumns | None) -> Iterator[Any]:
        """Open a counter's files, with the samples that wait; in the thread of the files."""
        if self.store is None:
            raise StorageError("no store")
        with self.store.reader(counter) as reader:
            if waiting is not None and len(waiting[0]) and any(reader.headers()):
                reader.replay(*waiting, self.store.lane_of(number).state(number))
            yield reader

    def _waiting(self, number: int) -> SampleColumns | None:
        return None if self.cache is None or number == NO_ID else self.cache.peek(number)

    def _read(
        self, counter: bytes, number: int, waiting: SampleColumns | None, asked: tuple[int, int, int, int, bool]
    ) -> Selection | None:
        """Run in the thread of the files; None for a counter that has no files yet."""
        with self._reader(counter, number, waiting) as reader:
            return select(reader.headers(), reader.cells, *asked) if any(reader.headers()) else None

    def file(self, name: str) -> StatFile | None:
        """Return a file of the web app."""
        path = os.path.join(self._files_dir, name)
        try:
            found = os.stat(path)
            with os.fdopen(open_regular(path), "rb") as file:
                data = file.read(MOST_FILE_BYTES + 1)
        except (OSError, ValueError):
            return None
        return StatFile(None if len(data) > MOST_FILE_BYTES else data, int(found.st_mtime))


class Orders:
    """The backend of the admin port: `flush_all` writes and forwards everything, `delete` removes counters."""

    def __init__(
        self,
        clock: IstatClock,
        answers: Answers,
        settings: Settings,
        purge: Callable[[int, int], None],
        flush_all: Callable[[], Deferred[None]],
        delete: Callable[[str], Deferred[None]],
        stats: Callable[[], Sequence[tuple[str, str]]],
        count: Callable[[str], None],
        log_level: int,
    ) -> None:
        self.debug = dict.fromkeys(DEBUG_OPTIONS, False)
        self.log_levels = [log_level, 1]
        self.count = count
        self.purge = purge
        self._clock = clock
        self._answers = answers
        self._settings = settings
        self._flush_all = flush_all
        self._delete = delete
        self._stats = stats

    def stats(self) -> Sequence[tuple[str, str]]:
        """Return what `stats` shows."""
        fake = [("fakeTime.value", str(self._clock.fake))] if self._clock.fake else []
        return [*self._stats(), *fake]

    async def flush(self) -> None:
        """Write every counter, settings and what is forwarded."""
        await self._flush_all()

    def set_fake_time(self, time: int) -> bool:
        """Set the clock that stands still; False where the clock is the real one."""
        if not self._clock.fake or time <= 0:
            return False
        self._clock.fake = time
        return True

    async def delete(self, name: str) -> None:
        """Delete a counter; unknown ones are no fault."""
        await self._delete(munge(name.encode("utf-8", "replace")).decode("ascii"))

    async def delete_matching(self, pattern: str) -> None:
        """Delete the counters that a pattern matches, levels below before those above."""
        tree = self._answers.tree
        for name in sorted(tree.leaves(pattern), reverse=True) if tree is not None else ():
            await self._delete(name)

    def flush_setting(self, name: str) -> None:
        """Save and forget a set of settings."""
        self._settings.flush(name)

    def load_setting(self, name: str) -> None:
        """Read a set of settings again."""
        self._settings.load(name)
