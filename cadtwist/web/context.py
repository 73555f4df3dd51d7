"""What the doors of the HTTP interface need; made by the service that opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timezone, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from cadtwist.interfaces import IStore
from cadtwist.query.owner import IOwner, QueryLimits
from cadtwist.web.answers import Answer, CrossOrigin
from cadtwist.web.gatekeeper import Gatekeeper
from cadtwist.web.resultcache import ResultCache
from cadtwist.web.visits import Visits

if TYPE_CHECKING:
    from cadtwist.query.functions.spec import Function
    from cadtwist.query.timeseries import TimeSeries, Window

__all__ = ["ICluster", "IScope", "Slices", "WebContext", "all_names", "answered", "sorted_names"]

_SLICE_S = 0.05
_FIND_CACHE_BYTES = 8 << 20
_NAMES_AT_ONCE = 20_000


def _no_pause() -> None:
    return None


def _all_functions() -> Mapping[str, Function]:
    from cadtwist.query.functions.registry import render_functions  # noqa: PLC0415 (9 MiB: only where something is drawn)

    return render_functions()


class IScope(Protocol):
    """The servers beside us, for one request."""

    @property
    def context(self) -> WebContext:
        """What the doors need for this request: the cluster's names in place of ours."""

    async def fetch(
        self,
        patterns: Sequence[str],
        window: Window,
        now: int,
        local: Callable[[], Awaitable[dict[str, list[TimeSeries]]]],
        breathe: Callable[[], Awaitable[None]],
    ) -> dict[str, list[TimeSeries]]:
        """Return the series of each pattern, sorted by name: ours, as `local` reads them, and all others'.

        `breathe` lets others run in between.
        """

    def told(self, answer: Answer) -> Answer:
        """Return the answer, marked if something is missing."""


class ICluster(Protocol):
    """The servers beside us."""

    def scope(self, context: WebContext, header: Callable[[bytes], str | None]) -> IScope:
        """Return them for one request; `header` gives its headers."""


@dataclass(frozen=True)
class WebContext:
    """`clock` tells epoch seconds, `zone` is meant where a request names none.

    `pause` returns a Deferred that fires in a later turn of the reactor: an owner that renders inline gives it, so
    that no render holds the reactor longer than a twentieth of a second; a web process needs none.
    `graphite_version` is what clients adapt their requests to.  `host` is our name; `functions` are the render
    functions by name.  `cluster` are the servers beside us, if any, `remote` the same for the request that is answered.
    `cached_s` is for how long answers to render may be cached where requests do not tell; `finds` and `renders` keep
    answers; `visits` are told of every request, `gatekeeper` says who may ask.
    """

    owner: IOwner
    store: IStore
    clock: Callable[[], float]
    limits: QueryLimits = field(default_factory=QueryLimits)
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    zone: tzinfo = timezone.utc
    graphite_version: str = "1.1.10"
    pause: Callable[[], Deferred[None] | None] = _no_pause
    slice_s: float = _SLICE_S
    host: str = "localhost"
    functions: Mapping[str, Function] = field(default_factory=_all_functions)
    cluster: ICluster | None = None
    remote: IScope | None = None
    cached_s: int = 60
    finds: ResultCache = field(default_factory=lambda: ResultCache(_FIND_CACHE_BYTES))
    renders: ResultCache = field(default_factory=lambda: ResultCache(0))
    visits: Visits = field(default_factory=Visits)
    gatekeeper: Gatekeeper = field(default_factory=Gatekeeper)


async def answered(value: object) -> Any:
    """Return what an IOwner answered, at once or by a Deferred."""
    if isinstance(value, Deferred):
        return await value
    return value


async def all_names(context: WebContext, at_once: int = _NAMES_AT_ONCE) -> AsyncIterator[list[str]]:
    """Yield the names of all metrics in lists of about so many."""
    cursor = 0
    while True:
        names, cursor = await answered(context.owner.leaves(cursor, at_once))
        yield names
        if not cursor:
            return


async def sorted_names(context: WebContext) -> list[str]:
    """Return the names of all metrics, each once."""
    return sorted({name async for names in all_names(context) for name in names})


class Slices:
    """Cuts a long piece of work into slices of `context.slice_s`, between which others run."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._since = context.clock()

    async def breathe(self) -> None:
        """Let others run if the slice is over."""
        if self._context.clock() - self._since > self._context.slice_s:
            await answered(self._context.pause())
            self._since = self._context.clock()
