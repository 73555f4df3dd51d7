"""Sends raw lines to destinations: a name's route is decided once, its live destinations whenever health changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.codec.outgoing import Chunks, Encoder
from cadtwist.interfaces import IDestination, IHolder, ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.decisions import FIRST_ROW, Decisions
from cadtwist.routing.routers import Router
from cadtwist.routing.routes import Route, RouteTable, shown
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["MAX_DESTINATIONS", "RouterStage", "Sent", "Taker"]

MAX_DESTINATIONS = 0xFFFF
_STAMPS = float(1 << 32)


class Taker(NamedTuple):
    """A destination and the form in which it takes datapoints; `message_points` bounds a pickle or protobuf frame."""

    destination: IDestination
    protocol: Literal["line", "pickle", "protobuf"] = "line"
    crlf: bool = False
    message_points: int = 500


@dataclass(slots=True)
class Sent:
    """What a destination was given: lines, and their bytes with a LF each, prefix and suffix not counted.

    Of frames the bytes are their own.
    """

    lines: int = 0
    bytes: int = 0


class Outcome(Protocol):
    """What a rule about names says: the names that are left, none = dropped for the reason."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names."""

    @property
    def reason(self) -> str:
        """The reason."""


class _Share(NamedTuple):
    """What the destinations of a bundle get of a Batch, by destination; rows whose route has none of them."""

    chunks: list[Chunks]
    unrouted: int


class _Bundle:
    """The destinations that take one form, by small numbers, and which of them each row of routes goes to."""

    def __init__(self, takers: Mapping[str, Taker], prefix: bytes, suffix: bytes, table: tables.MetricTable) -> None:
        form = next(iter(takers.values()), None)
        self.keys = tuple(takers)
        self.destinations = [taker.destination for taker in takers.values()]
        self.numbers = {key: number for number, key in enumerate(takers)}
        self.resolved: list[tuple[int, ...]] = []
        self.offsets: Ids = np.zeros(1, np.uint32)
        self.cells: npt.NDArray[np.uint16] = np.zeros(0, np.uint16)
        self._offsets, self._cells = [0], list[int]()
        self._prefix, self._suffix, self._table = prefix, suffix, table
        self._ending = b"\r\n" if form is not None and form.crlf else b"\n"
        self._encoder = Encoder(table, "line") if form is None else _encoder(table, form)
        self.beside_line = len(prefix) + len(suffix) + len(self._ending) - 1 if self._encoder.divisible else 0

    def aim(self, targets: list[tuple[int, ...]], anew: bool) -> None:
        """Send the lines of some more rows, or `anew` of all, to these destinations from now on."""
        if anew:
            self._offsets, self._cells = [0], []
        for each in targets:
            self._cells += each
            self._offsets.append(len(self._cells))
        self.offsets = np.array(self._offsets, np.uint32)
        self.cells = np.array(self._cells, np.uint16)

    def share(self, batch: Batch, numbers: npt.NDArray[Any], routed: npt.NDArray[np.uint64],
              dropped: npt.NDArray[np.int64]) -> _Share | None:  # fmt: skip
        """Return what the destinations get; None where an id is undecided."""
        if batch.spans is None or not self._encoder.divisible:
            return self._encoded(batch, numbers, routed, dropped)
        spans = batch.spans
        made = active.scatter.scatter(
            spans.data, spans.table, batch.ids, numbers, self.offsets, self.cells, len(self.keys), routed, dropped,
            self._prefix, self._suffix, self._ending, self._table, spans.renamed,
        )  # fmt: skip
        if made is None:
            return None
        chunks: list[Chunks] = [
            [] if text is None else [(text, lines)] for text, lines in zip(made[0], made[1], strict=True)
        ]
        return _Share(chunks, made[2])

    def _encoded(self, batch: Batch, numbers: npt.NDArray[Any], routed: npt.NDArray[np.uint64],
                 dropped: npt.NDArray[np.int64]) -> _Share | None:  # fmt: skip
        """Write the datapoints anew: they have no lines, or are not wanted as such."""
        if self._prefix or self._suffix:
            raise TypeError("only lines as they came take a prefix or a suffix")
        found = active.scatter.rows(
            batch.ids, numbers, self.offsets, self.cells, len(self.keys), routed, dropped
        )
        if found is None:
            return None
        return _Share([[] if rows is None else self._encoder.encode(batch, rows) for rows in found[0]], found[1])


def _encoder(table: tables.MetricTable, taker: Taker) -> Encoder:
    return Encoder(table, taker.protocol, taker.message_points, taker.crlf)


@implementer(ISink, IHolder)
class RouterStage:
    """Gives every line of a Batch to the destinations of its name's route, in order, each as one text.  Reactor thread.

    What has no line as it came (from pickles, generated) and what a destination wants as pickle or protobuf is encoded.

    `refuse` is a rule that drops names or lets them be; `label(name)` a small number by which lines are counted as
    well (a virtual shard).  A line leaves with `prefix` and `suffix` around its name; names are routed without.
    Where no candidate is live, its queue gets the lines (`hold`), or nobody (dropped: `no_destination`).  Where all
    take protobuf, times that it cannot tell are dropped (`timestamp`).

    A reload makes another stage over the same destinations: `prime` it, deliver into it, release this one.
    """

    def __init__(
        self,
        router: Router,
        takers: Mapping[str, Taker],
        table: tables.MetricTable,
        account: Account,
        *,
        refuse: Callable[[str], Outcome | None] | None = None,
        label: Callable[[bytes], int] | None = None,
        prefix: bytes = b"",
        suffix: bytes = b"",
        hold: bool = True,
    ) -> None:
        if len(takers) > MAX_DESTINATIONS:
            raise ValueError(f"more than {MAX_DESTINATIONS} destinations")
        if (prefix or suffix) and any(taker.protocol != "line" for taker in takers.values()):
            raise ValueError("only lines take a prefix or a suffix; rename before for others")
        self.router = router
        self.sent = {key: Sent() for key in takers}
        self._table = table
        self._account = account
        self._refuse = refuse
        self._label = label
        self._hold = hold
        self._live: Collection[str] | None = None
        self._loads: Mapping[str, int] | None = None
        self._stamped = bool(takers) and all(taker.protocol == "protobuf" for taker in takers.values())
        self._routes = RouteTable()
        self._rows: dict[tuple[int, int], int] = {}
        self._reasons: list[str] = []
        self._routed: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._dropped: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._rows_now = self._routed
        self._homeless: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._decisions = Decisions(self._decide_id)
        self._bundles = [_Bundle(part, prefix, suffix, table) for part in _by_form(takers)]

    def accept(self, batch: Batch) -> None:
        """Send the lines on."""
        self._account.received += len(batch)
        if self._stamped:
            batch = self._with_stamps(batch)
        first, *others = self._bundles
        share = self._first_share(first, batch, bool(others))
        if share is None:
            self._decisions.lookup(batch.ids)
            self._make_room()
            share = self._first_share(first, batch, bool(others))
        if share is None:
            raise LookupError("a name without a decision")
        shares, unrouted = [share], share.unrouted
        for bundle in others:
            more = bundle.share(
                batch, self._decisions.numbers, np.zeros_like(self._routed), np.zeros_like(self._dropped)
            )
            if more is not None:
                shares.append(more)
        if others:
            self._routed += self._rows_now
            unrouted = int(self._rows_now[self._homeless].sum())
        points = sum(count for each in shares for chunks in each.chunks for _, count in chunks)
        self._count(len(batch), points, unrouted)
        for bundle, each in zip(self._bundles, shares, strict=False):
            self._send(bundle, each.chunks)

    def _with_stamps(self, batch: Batch) -> Batch:
        """Return the datapoints whose time a protobuf message can tell: others would come to be at another time."""
        fit = (batch.timestamps > -1.0) & (batch.timestamps < _STAMPS)
        if fit.all():
            return batch
        self._account.drop("timestamp", len(batch) - int(np.count_nonzero(fit)))
        return batch.select(fit)

    def _first_share(self, bundle: _Bundle, batch: Batch, among_others: bool) -> _Share | None:
        """Return the share of the first bundle; beside others the rows of each route are counted apart."""
        counts = self._routed
        if among_others:
            counts = self._rows_now = np.zeros_like(self._routed)
        return bundle.share(batch, self._decisions.numbers, counts, self._dropped)

    def settle(self, live: Collection[str] | None = None, loads: Mapping[str, int] | None = None) -> None:
        """Send what comes from now on to those that are `live` (keys; None: all are), the least loaded first.

        No name is decided again.
        """
        self._live, self._loads = None if live is None else frozenset(live), loads
        for bundle in self._bundles:
            bundle.resolved = []
        self._aim(0)

    def decide(self, name: str) -> Route | str:
        """Return the route of `name`, or the reason for which it is refused.  Pure."""
        return self._reason(name) or self.router.route(name.encode("utf-8", "surrogateescape"))

    def explain(self, name: str) -> str:
        """Return `decide(name)` as one line for people."""
        decided = self.decide(name)
        if isinstance(decided, str):
            return f"{name}: dropped ({decided})"
        return f"{name}: {self.router.explain(name)}" if decided else f"{name}: {shown(decided)}"

    def prime(self, ids: Ids, budget: int) -> int:
        """Decide up to `budget` unknown ids in advance; return how many of `ids` are unknown after that."""
        left = self._decisions.prime(ids, budget)
        self._make_room()
        return left

    def lines_by_label(self) -> dict[int, int]:
        """Return how many lines each label has had."""
        counts: dict[int, int] = {}
        for (_, label), row in self._rows.items():
            if row < len(self._routed):
                counts[label] = counts.get(label, 0) + int(self._routed[row])
        return counts

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other names."""
        self._decisions.forget(ids)

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number)
        refused = "" if self._refuse is None else self._reason(name.decode("utf-8", "surrogateescape"))
        if refused:
            if refused not in self._reasons:
                self._reasons.append(refused)
            return -1 - self._reasons.index(refused)
        route = self._routes.number(self.router.route(name))
        label = 0 if self._label is None else self._label(name)
        return FIRST_ROW + self._rows.setdefault((route, label), len(self._rows))

    def _reason(self, name: str) -> str:
        """Return why `name` is refused, "" where it is not."""
        outcome = None if self._refuse is None else self._refuse(name)
        return outcome.reason if outcome is not None and not outcome.names else ""

    def _make_room(self) -> None:
        """Take rows and reasons into the tables that were met since the last time."""
        if len(self._dropped) < len(self._reasons):
            self._dropped = np.zeros(len(self._reasons), np.int64)
        if len(self._routed) < len(self._rows):
            counted = self._routed
            self._routed = np.zeros(len(self._rows), np.uint64)
            self._routed[: len(counted)] = counted
            self._aim(len(counted))

    def _aim(self, since: int) -> None:
        """Look up whom the routes of the rows from `since` on reach."""
        routes = [route for route, _ in islice(self._rows, since, None)]
        reached = np.zeros(len(self._rows), np.intp)
        for bundle in self._bundles:
            known = len(bundle.resolved)
            bundle.resolved += self._routes.resolved(bundle.numbers, self._live, self._loads, self._hold, known)
            bundle.aim([bundle.resolved[route] for route in routes], since == 0)
            reached += np.diff(bundle.offsets)
        self._homeless = reached == 0

    def _send(self, bundle: _Bundle, chunks: list[Chunks]) -> None:
        """Give each destination its chunks."""
        for key, destination, each in zip(bundle.keys, bundle.destinations, chunks, strict=True):
            for text, points in each:
                sent, asked_bytes = self.sent[key], len(text) - points * bundle.beside_line
                sent.lines += points
                sent.bytes += asked_bytes
                destination.send(text, points, asked_bytes)

    def _count(self, rows: int, lines: int, unrouted: int) -> None:
        refused = 0
        if self._reasons:
            for reason, count in zip(self._reasons, self._dropped.tolist(), strict=True):
                if count:
                    self._account.drop(reason, count)
                    refused += count
            self._dropped.fill(0)
        if unrouted:
            self._account.drop("no_destination", unrouted)
        self._account.out += lines
        self._account.made += lines - (rows - refused - unrouted)


def _by_form(takers: Mapping[str, Taker]) -> Iterable[dict[str, Taker]]:
    """Return the takers apart by the form they take; one empty part where there are none."""
    parts: dict[object, dict[str, Taker]] = {}
    for key, taker in takers.items():
        points = 0 if taker.protocol == "line" else taker.message_points
        parts.setdefault((taker.protocol, taker.crlf, points), {})[key] = taker
    return parts.values() or [{}]
