"""Every contract between rooms.  Shapes and units are in the docstrings of the values (`cadtwist.model`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from zope.interface import Attribute, Interface

from cadtwist.model.batch import Batch, Ids

if TYPE_CHECKING:
    from cadtwist.errors import StorageError
    from cadtwist.model.filefacts import FileFacts, Retention
    from cadtwist.model.series import Series
    from cadtwist.model.summary import SummaryBatch
    from cadtwist.model.summaryjob import StatisticKey, SummaryJob
    from cadtwist.model.writejob import WriteJob

__all__ = [
    "IBulkReader", "IDestination", "IFileStore", "IHolder", "ISink", "IStage", "IStore", "ISummarySink",
    "ISummaryStore",
]  # fmt: skip


class ISink(Interface):
    """Takes datapoints."""

    def accept(batch: Batch) -> None:
        """Take a lent `Batch`.

        Never raises for data: every datapoint ends in one of the sink's counters or in its next sink.
        Reactor thread.
        """


class ISummarySink(Interface):
    """Takes summaries of datapoints."""

    def accept(batch: SummaryBatch) -> None:
        """Take a lent `SummaryBatch`; as `ISink.accept`."""


class IHolder(Interface):
    """Keeps state by metric id, and so has a say in the recycling of ids."""

    def holds(ids: Ids) -> npt.NDArray[np.bool_]:
        """Return a boolean mask over `ids` (uint32 array): True where state exists that must not be lost."""

    def forget(ids: Ids) -> None:
        """Drop whatever is known of `ids`: each may come back as another metric."""


class IStage(ISink, IHolder):
    """Decides by name, once, and applies the decision to every Batch."""

    downstream = Attribute("the next ISink")

    def decide(name: str) -> object:
        """Return the decision for a metric name (str).  Pure."""

    def explain(name: str) -> str:
        """Return `decide(name)` as one line for people."""


class IDestination(Interface):
    """A downstream endpoint with its queue.  Reactor thread."""

    key = Attribute("host:port:instance or another stable text")
    account = Attribute("the Account that every datapoint given to `send` is counted in")
    connected = Attribute("True while it can be reached")
    failing = Attribute("True while the last chunk was not taken whole")
    failed_attempts = Attribute("attempts to connect that failed in a row")
    queued_points = Attribute("datapoints that wait in memory")

    def send(chunk: bytes, points: int, asked_bytes: int = 0) -> None:
        """Queue encoded bytes that carry `points` datapoints: whole lines, or one frame.  Never raises for data.

        `asked_bytes`, where given, is what the counter `bytes_queued` counts in place of the chunk's length.
        """

    def listen(listener: Callable[[Any], object]) -> Callable[[], None]:
        """Call `listener(destination)` when `connected` or `failed_attempts` change; the result ends that."""

    def surrender() -> list[tuple[bytes, int]]:
        """Give what waits in memory, (bytes, datapoints) each, to the caller, who counts it as received."""

    def close(drain_s: float | None = None) -> Any:
        """Send what waits for up to `drain_s`, keep or drop the rest; the Deferred fires when all is closed."""


class IStore(Interface):
    """Keeps series in files.  `write` is called by writer threads, `fetch` by web processes."""

    def write(job: WriteJob) -> npt.NDArray[np.uint8]:
        """Write a `WriteJob`; return one status byte per metric of it.  Never raises for one file's fault."""

    def fetch(name: str, start: int, end: int, now: int) -> Series | None:
        """Return a `Series`, or None where the store has nothing of that metric and time."""


class IBulkReader(IStore):
    """A store that reads many series in one call more cheaply than one by one."""

    def fetch_many(
        names: Sequence[str], start: int, end: int, now: int, most: int
    ) -> list[Series | StorageError | None]:
        """Return for each name what `fetch` returns or raises; TooManyPointsError beyond `most` values altogether."""


class IFileStore(IStore):
    """A store whose series have files."""

    def facts(name: str) -> FileFacts | None:
        """Return what the disk says of a metric's files, None where there are none."""

    def retained(name: str) -> Retention | None:
        """Return how a metric's file says that it keeps it; None where no file says that."""

    def space() -> tuple[int, int]:
        """Return the bytes that are free on its disk, and all; StorageError where none can be asked."""


class ISummaryStore(Interface):
    """Keeps summaries of minutes for some days.  Both methods block on files; one thread at a time."""

    def write(job: SummaryJob) -> None:
        """Store a `SummaryJob`, all of it or (StorageError) nothing; a minute that is there already is added to."""

    def fetch(key: StatisticKey, start: int, end: int) -> SummaryBatch:
        """Return the minutes of a statistic that begin within [start, end), in order; the ids mean nothing."""
