"""Shows counters to Prometheus: what is kept for it, and its door."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cadtwist.codec.exposition import LABELS, read_labels
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.services.sequence import Every
from cadtwist.services.slices import OneByOne
from cadtwist.stages.exposition import Exposition
from cadtwist.telemetry import Account
from cadtwist.web.istatprometheus import PrometheusDoor
from cadtwist.web.requests import BoundedSite

__all__ = ["CounterExposition"]

MAX_BODY_BYTES = 4096
MAX_LABELS_BYTES = 1 << 20


class CounterExposition:
    """The sink (`sink`) and the door (`site`) of Prometheus.  Reactor thread."""

    _log = Logger()

    def __init__(
        self, reactor: Any, config: IstatConfig, table: Any, account: Account, now: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._now = now
        self._slices = OneByOne(reactor)
        self.sink = Exposition(
            table, account, now, keep_s=config.metrics_cleanup_s, most=config.max_metrics,
            labels=frozenset(LABELS) | self._labels(), translate=config.translate_metric_names,
            host=socket.gethostname(),
        )  # fmt: skip
        self.site = BoundedSite(PrometheusDoor(self.text, config.compat), MAX_BODY_BYTES, reactor)

    def text(self) -> Deferred[str]:
        """Return all that is shown now."""
        return self._slices(self.sink.text(self._now(), self._config.compat))

    def services(self) -> Iterator[IService]:
        """Yield what forgets what was shown long enough."""
        period = self._config.metrics_cleanup_s
        yield Every("shown long enough", self._reactor, period, lambda _now: self.sink.clean(self._now()))

    def _labels(self) -> frozenset[str]:
        """Read the further names of labels."""
        path = self._config.tagnames_path
        if not path:
            return frozenset()
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return read_labels(file.read(MAX_LABELS_BYTES))
        except OSError as error:
            self._log.error("{path}: {why}", path=path, why=error.strerror)
            return frozenset()
