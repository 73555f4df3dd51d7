"""Every contract between rooms.  Shapes and units are in the docstrings of the values (`cadtwist.model`)."""

from __future__ import annotations

from zope.interface import Attribute, Interface

__all__ = ["IDestination", "IHolder", "ISink", "IStage", "IStore"]


class ISink(Interface):
    """Takes datapoints."""

    def accept(batch):  # type: ignore[no-untyped-def]
        """Take a lent `Batch`.

        Never raises for data: every datapoint ends in one of the sink's counters or in its next sink.
        Reactor thread.
        """


class IHolder(Interface):
    """Keeps state by metric id, and so has a say in the recycling of ids."""

    def holds(ids):  # type: ignore[no-untyped-def]
        """Return a boolean mask over `ids` (uint32 array): True where state exists that must not be lost."""

    def forget(ids):  # type: ignore[no-untyped-def]
        """Drop whatever is known of `ids`: each may come back as another metric."""


class IStage(ISink, IHolder):
    """Decides by name, once, and applies the decision to every Batch."""

    downstream = Attribute("the next ISink")

    def decide(name):  # type: ignore[no-untyped-def]
        """Return the decision for a metric name (str).  Pure."""

    def explain(name):  # type: ignore[no-untyped-def]
        """Return `decide(name)` as one line for people."""


class IDestination(Interface):
    """A downstream endpoint with its queue."""

    key = Attribute("host:port:instance or another stable text")

    def send(chunk, points):  # type: ignore[no-untyped-def]
        """Queue encoded bytes that carry `points` datapoints."""


class IStore(Interface):
    """Keeps series in files.  `write` is called by writer threads, `fetch` by web processes."""

    def write(job):  # type: ignore[no-untyped-def]
        """Write a `WriteJob`; return one status byte per metric of it.  Never raises for one file's fault."""

    def fetch(name, start, end, now):  # type: ignore[no-untyped-def]
        """Return a `Series`, or None where the store has nothing of that metric and time."""
