"""The HTTP doors of accumulators: Cadent's read API over what their writers have in files and in memory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TextIO

from twisted.application.service import IService
from twisted.internet.defer import DeferredList, maybeDeferred

from cadtwist.config.accumulatorchecks import api_address
from cadtwist.config.accumulatormodel import AccumulatorApiConfig, AccumulatorConfig
from cadtwist.config.model import Listener, WebConfig
from cadtwist.errors import ConfigError
from cadtwist.query.cadent import Resolution
from cadtwist.services.cachegraph import CacheGraph
from cadtwist.services.sequence import Sequence, Step
from cadtwist.services.webworker import web_context
from cadtwist.web.answers import CrossOrigin
from cadtwist.web.cadentsite import CadentSite

__all__ = ["AccumulatorApis", "api_listener"]

Open = Callable[[Listener, Any], IService]


def api_listener(api: AccumulatorApiConfig) -> Listener:
    """Return the door of an API: all addresses where it names none."""
    found = api_address(api.listen)
    if found is None:
        raise ConfigError([f"{api.listen!r} is not host:port"])
    return Listener(protocol="http", interface=found[0], port=found[1])


class AccumulatorApis:
    """The doors of a configuration's accumulators; `service` runs them.

    `open(listener, site)` gives the service that listens; `graph_of(accumulator)` the cache of its writer, None where
    that keeps nothing that could be read.
    """

    def __init__(
        self, reactor: Any, web: WebConfig, open_door: Open,
        graph_of: Callable[[AccumulatorConfig], CacheGraph | None],
    ) -> None:  # fmt: skip
        self.service = Sequence()
        self.service.setName("doors of accumulators")
        self._reactor = reactor
        self._web = web
        self._open = open_door
        self._graph_of = graph_of
        self._known: dict[AccumulatorApiConfig, tuple[AccumulatorConfig, Sequence]] = {}

    def change(self, accumulators: tuple[AccumulatorConfig, ...]) -> None:
        """Open the doors that are wanted now and close all others.

        ConfigError where a log cannot be written: then nothing has changed.
        """
        wanted = {each.api: each for each in accumulators if each.api is not None and each.writer is not None}
        fresh: dict[AccumulatorApiConfig, tuple[AccumulatorConfig, Sequence]] = {}
        for api, accumulator in wanted.items():
            known = self._known.get(api)
            if known is None or (known[0].bins, known[0].writer) != (accumulator.bins, accumulator.writer):
                graph = self._graph_of(accumulator)
                if graph is not None:
                    fresh[api] = accumulator, self._service(api, accumulator, graph)
        gone = [self._known.pop(api)[1] for api in list(self._known) if api not in wanted or api in fresh]
        self._known |= fresh
        closed = DeferredList([maybeDeferred(service.disownServiceParent) for service in gone], consumeErrors=True)
        closed.addCallback(lambda _: self._start([service for _, service in fresh.values()]))

    def _start(self, services: list[Sequence]) -> None:
        for service in services:
            service.setServiceParent(self.service)

    def _service(self, api: AccumulatorApiConfig, accumulator: AccumulatorConfig, graph: CacheGraph) -> Sequence:
        """Return what listens for an accumulator; pages of any origin may read it, as Cadent lets them."""
        context = web_context(self._reactor, graph.owner, graph.read_store, self._web, inline=True)
        times = [Resolution(each.resolution_s, each.ttl_s) for each in accumulator.bins]
        log = _AccessLog(api.log_file, accumulator.name)
        site = CadentSite(
            replace(context, cross_origin=CrossOrigin(("*",))), api.base_path, times, self._reactor, log.tell,
            self._web.max_request_bytes,
        )  # fmt: skip
        service = Sequence()
        service.setName(f"door of {accumulator.name} ({api.listen})")
        for part in (Step("access log", None, log.close), self._open(api_listener(api), site)):
            part.setServiceParent(service)
        return service


class _AccessLog:
    """The access log: stdout, stderr, none, or a file that exists, to which lines are appended.

    A disk that takes no more costs lines of the log only.
    """

    def __init__(self, path: str, name: str) -> None:
        self._file: TextIO | None = None
        self._own = path not in ("stdout", "stderr", "none")
        if not self._own:
            self._file = {"stdout": sys.stdout, "stderr": sys.stderr}.get(path)
        elif os.path.isfile(path):
            self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (it stays open)
        else:
            raise ConfigError([f"accumulator {name}: api: log_file {path!r} does not exist"])

    def tell(self, line: str) -> None:
        """Append a line."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.write(f"{line}\n")

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._own and self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
