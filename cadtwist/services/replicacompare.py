"""Makes the files of a store equal to those of its master: folder by folder, file by file, page by page.

What is asked is answered in order, and an answer is used before anything that came after it: so a page is as it was at
that place of what the master tells, and all later changes of it are still to come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.python.failure import Failure

from cadtwist.codec.replica import (
    MOST_PAGES,
    MOST_SUMS,
    Folder,
    Kind,
    Pages,
    ReplicaError,
    Sums,
    ask_folder,
    ask_pages,
    ask_sums,
)
from cadtwist.kernels.statformat import COLLATED
from cadtwist.storage.replicafiles import ReplicaFiles

__all__ = ["Comparison"]

AT_ONCE = 16
MOST_WAITING = 2048


class Comparison:
    """One comparison; `read(work, *arguments)` runs work in the thread of the files, `ask(kind, payload)` the master.

    `finest` is the file that makes a folder a counter.  Afterwards `counters` are those that were found, by name with
    whether they are of events; `set_aside` are the paths that the master has not.
    """

    def __init__(
        self,
        files: ReplicaFiles,
        read: Callable[..., Awaitable[Any]],
        ask: Callable[[Kind, bytes], Awaitable[bytes]],
        finest: bytes,
        trust_times: bool,
    ) -> None:
        self.made_equal = 0
        self.counters: dict[str, bool] = {}
        self.set_aside: list[bytes] = []
        self._files = files
        self._read = read
        self._ask = ask
        self._finest = finest
        self._trust_times = trust_times
        self._folders: list[tuple[bytes, bytes]] = [(b"", b"")]
        self._differing: deque[bytes] = deque()
        self._working = 0
        self._failure: Failure | None = None
        self._woken: list[Deferred[None]] = []

    def lost_counters(self) -> list[str]:
        """Return the counters whose finest file was set aside."""
        end = b"/" + self._finest
        gone = [path.removesuffix(end) for path in self.set_aside if path.endswith(end)]
        return [path.replace(b"/", b".").decode("ascii", "replace") for path in gone]

    async def run(self) -> Comparison:
        """Compare everything."""
        await gatherResults([ensureDeferred(self._worker()) for _ in range(AT_ONCE)], consumeErrors=True).addErrback(
            _first_failure
        )
        return self

    async def _worker(self) -> None:
        """Do what there is to do until nobody has anything any more; files before folders, so that few wait."""
        while self._failure is None:
            if self._differing and (len(self._differing) > MOST_WAITING or not self._folders):
                work: Awaitable[None] = self._file(self._differing.popleft())
            elif self._folders:
                work = self._folder(*self._folders.pop())
            elif self._working:
                woken: Deferred[None] = Deferred()
                self._woken.append(woken)
                await woken
                continue
            else:
                break
            self._working += 1
            try:
                await work
            except BaseException:
                self._failure = Failure()
                raise
            finally:
                self._working -= 1
                self._wake()

    def _wake(self) -> None:
        woken, self._woken = self._woken, []
        for one in woken:
            one.callback(None)

    async def _folder(self, path: bytes, after: bytes) -> None:
        """Compare a part of a folder; find what else is to be compared."""
        part = Folder.unpack(await self._ask(Kind.ASK_FOLDER, ask_folder(path, after)))
        differing, gone = await self._read(self._files.compare, path, part, after, self._trust_times)
        self.set_aside += gone
        self._differing.extend(differing)
        below = path + b"/" if path else b""
        self._folders += [(below + name, b"") for name in part.folders]
        if part.more:
            if part.last <= after:
                raise ReplicaError("a folder without an end")
            self._folders.append((path, part.last))
        if path and any(file.name == self._finest for file in part.files):
            self.counters.setdefault(path.replace(b"/", b".").decode("ascii", "replace"), False)

    async def _file(self, path: bytes) -> None:
        """Make a file equal; one that is gone meanwhile is left out.

        While there was none here, changes of it found nothing to change: such a one is looked at once more.
        """
        about, is_new = await self._brought(path)
        if is_new:
            about, _ = await self._brought(path)
        if about is not None:
            await self._read(self._settled, path, about)
            self.made_equal += 1

    async def _brought(self, path: bytes) -> tuple[Sums | Pages | None, bool]:
        """Bring the pages of a file that differ; return what was told last, None if it is gone, and if it is new."""
        wrong: list[int] = []
        first = 0
        while True:
            sums = Sums.unpack(await self._ask(Kind.ASK_SUMS, ask_sums(path, first)))
            if sums.size < 0:
                return None, False
            wrong += await self._read(self._files.differing, path, first, sums)
            first += MOST_SUMS
            if len(sums.sums) < MOST_SUMS:
                break
        about: Sums | Pages = sums
        is_new = wrong[:1] == [0]
        if is_new:
            wrong = [*wrong[1:], 0]  # the page that makes it a file comes last
        for start in range(0, len(wrong), MOST_PAGES):
            numbers = wrong[start : start + MOST_PAGES]
            about = pages = Pages.unpack(await self._ask(Kind.ASK_PAGES, ask_pages(path, numbers)))
            if pages.size < 0:
                return None, False
            await self._read(self._files.write, path, numbers, pages)
        return about, is_new

    def _settled(self, path: bytes, about: Sums | Pages) -> None:
        """In the thread of the files."""
        if isinstance(about, Sums):
            self._files.resize(path, about.size)
        self._files.settle(path, about)
        folder, _, file = path.rpartition(b"/")
        if file == self._finest and folder:
            head = self._files.header(path)
            name = folder.replace(b"/", b".").decode("ascii", "replace")
            self.counters[name] = head is not None and bool(head.flags & COLLATED)


def _first_failure(failure: Failure) -> Failure:
    """Return what failed, without the wrapping of gatherResults."""
    inner = getattr(failure.value, "subFailure", None)
    return inner if isinstance(inner, Failure) else failure
