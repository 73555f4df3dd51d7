"""What shows counters to Graphite's clients: names, an owner that answers for them, events, the site of the door."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService

from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.model import NamesConfig, WebConfig
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.query.catalog import Catalog
from cadtwist.query.index import MetricIndex
from cadtwist.query.owner import QueryLimits
from cadtwist.services.catalog import CatalogKeeper
from cadtwist.services.counterseries import CounterOwner, CounterSeries
from cadtwist.services.istatparts import Answers
from cadtwist.services.slices import OneByOne
from cadtwist.services.syncer import Syncer
from cadtwist.storage.catalogfile import CatalogFile
from cadtwist.telemetry import Account
from cadtwist.web.istatmeeting import Meeting
from cadtwist.web.istatsite import IstatResource
from cadtwist.web.requests import BoundedSite

if TYPE_CHECKING:
    from cadtwist.web.site import Doors

__all__ = ["CounterApi"]

MAX_BODY_BYTES = 16 << 20
SYNC_S = 1.0


class CounterApi:
    """Counters as series.  Reactor thread.

    `catalog` is that of the process, None where there is none: then events are kept in a file beside the store.
    """

    def __init__(
        self,
        reactor: Any,
        config: IstatConfig,
        answers: Answers,
        now: Callable[[], float],
        reports: dict[str, Callable[[], object]],
        catalog: Catalog | None,
        account: Account,
    ) -> None:
        self._reactor = reactor
        self._now = now
        self._file = CatalogFile(f"{os.path.abspath(config.store)}.catalog") if config.store and not catalog else None
        self._keeper = None
        self._account = account
        self._catalog = catalog or Catalog()
        if catalog is None:
            self._keeper = CatalogKeeper(reactor, self._catalog, self._file, account)
        self.series = CounterSeries(MetricIndex(secrets.randbits(64), max_bytes=NamesConfig().max_bytes))
        account.gauge("series", lambda: float(len(self.series.index)))
        self.owner = CounterOwner(
            self.series.index, answers.cells, parse_stat_retentions(config.retention), now, reports,
            QueryLimits(), OneByOne(reactor), self._catalog,
        )  # fmt: skip

    def services(self) -> Iterator[IService]:
        """Yield what keeps events, in the order in which it starts."""
        if self._file is not None:
            yield Syncer(self._reactor, self._file.flush, SYNC_S, self._account, "the catalog of events")
        if self._keeper is not None:
            yield self._keeper

    def site(self, counters: IstatResource) -> BoundedSite:
        """Return the site of the HTTP door, where counters answer whatever is no path of the API."""
        return BoundedSite(Meeting(self._doors, counters), MAX_BODY_BYTES, self._reactor)

    def _doors(self) -> Doors:
        from cadtwist.services.webworker import web_context  # noqa: PLC0415 (only once somebody asks)
        from cadtwist.storage.memory import MemoryStore  # noqa: PLC0415
        from cadtwist.storage.schemas import SchemaTable  # noqa: PLC0415
        from cadtwist.web.site import Doors  # noqa: PLC0415

        store = MemoryStore(SchemaTable())
        return Doors(web_context(self._reactor, self.owner, store, WebConfig(), inline=True, clock=self._now))
