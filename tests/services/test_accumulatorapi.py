"""The doors of accumulators: what was added up is read over HTTP, in files or not yet."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from cadtwist.config.accumulatormodel import (
    AccumulatorApiConfig,
    AccumulatorWriterConfig,
    BinConfig,
    DriverConfig,
)
from cadtwist.config.model import Config, Listener, StorageConfig
from cadtwist.errors import ConfigError
from cadtwist.model.batch import Batch
from cadtwist.services.accumulatorapi import AccumulatorApis, api_listener
from cadtwist.services.build import Daemon
from tests.services.daemons import until
from tests.services.test_accumulators import GRAPHITE, AccumulatorCase, accumulator
from tests.web.wire import Reply, ask

BINS = (BinConfig(resolution_s=1.0, ttl_s=3600.0), BinConfig(resolution_s=60.0, ttl_s=86400.0))


class ApiTests(AccumulatorCase):
    """The writer is a daemon's; what would listen is caught, and asked in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.opened: list[tuple[str, Any, Service]] = []

    def reading(self, **api: Any) -> Config:
        """Return a configuration whose file writer does one update in two seconds."""
        folder = os.path.join(self.folder, "whisper")
        os.makedirs(folder, exist_ok=True)
        writer = AccumulatorWriterConfig(
            metrics=DriverConfig(driver="whisper", dsn=folder, options=(("writes_per_second", "0.5"),)),
            indexer=DriverConfig(driver="noop"),
        )
        door = AccumulatorApiConfig(listen="127.0.0.1:8083", **{"log_file": "none", "base_path": "/g/", **api})
        made = accumulator(backend="", bins=BINS, writer=writer, api=door, input_format="graphite", flush_s=1.0)
        config = self.accumulating(made, storage=StorageConfig(sparse_create=True))
        return replace(config, relays=(replace(config.relays[0], lines=GRAPHITE), *config.relays[1:]))

    async def begun(self, config: Config) -> Daemon:
        silent = replace(config, accumulators=(replace(config.accumulators[0], api=None),))
        daemon = await self.start(silent)
        self.apis = AccumulatorApis(reactor, config.web, self.open, daemon.writers.graph_of)
        self.apis.service.startService()
        self.apis.change(config.accumulators)
        return daemon

    def open(self, listener: Listener, site: Any) -> Service:
        service = Service()
        self.opened.append((listener.address, site, service))
        return service

    def ask(self, path: str) -> Reply:
        """Ask the door that was opened last."""
        return ask(self.opened[-1][1], Clock(), "GET", path)

    def running(self) -> list[bool]:
        return [bool(service.running) for _, _, service in self.opened]

    def test_points_in_files_and_in_memory(self) -> Any:
        """Of three metrics only some are in files when all are asked for."""

        async def run() -> None:
            log = os.path.join(self.folder, "access.log")
            with open(log, "w", encoding="utf-8"):
                pass
            daemon = await self.begun(self.reading(log_file=log))
            (graph,) = daemon.writers.graphs
            start = int(time.time()) - 100
            names = [b"m.n%d.count" % n for n in range(3) for _ in (0, 1)]
            ids = np.array([graph.table.intern(name, start) for name in names], np.uint32)
            times, values = np.tile([start, start + 1.0], 3), np.repeat([0.0, 1.0, 2.0], 2)
            graph.cache.accept(Batch(ids, times, values))
            await until(lambda: graph.points.points < 6)
            self.assertGreater(graph.points.points, 0)
            reply = self.ask(f"/g/metrics?target=m.*.count&from={start - 1}&to={start + 1}")
            expected = {f"m.n{n}.count": [[float(n), start], [float(n), start + 1]] for n in range(3)}
            self.assertEqual(json.loads(reply.body)["series"], expected)
            self.assertEqual(reply.headers["access-control-allow-origin"], "*")
            found = json.loads(self.ask("/g/expand?query=m.*.count").body)
            self.assertEqual(found, {"results": ["m.n0.count", "m.n1.count", "m.n2.count"]})
            self.assertEqual(self.ask("/other").status, 404)
            await self.apis.service.stopService()
            with open(log, encoding="utf-8") as file:
                paths = [line.split('"')[1].split("?")[0] for line in file]
            self.assertEqual(paths, ["GET /g/metrics", "GET /g/expand", "GET /other HTTP/1.1"])

        return ensureDeferred(run())

    def test_a_reload_opens_and_closes(self) -> Any:
        async def run() -> None:
            config = self.reading()
            await self.begun(config)
            self.assertEqual([address for address, _, _ in self.opened], ["tcp:127.0.0.1:8083"])
            self.apis.change(config.accumulators)
            self.assertEqual(self.running(), [True])
            shorter = replace(config.accumulators[0], bins=BINS[:1])
            self.apis.change((shorter,))
            await until(lambda: self.running() == [False, True])
            self.apis.change((replace(shorter, api=None),))
            await until(lambda: self.running() == [False, False])
            self.assertEqual(list(self.apis.service), [])

        return ensureDeferred(run())

    def test_a_log_must_be_there(self) -> Any:
        async def run() -> None:
            config = self.reading(log_file=os.path.join(self.folder, "none.log"))
            with self.assertRaises(ConfigError):
                await self.begun(config)
            self.assertEqual(self.opened, [])

        return ensureDeferred(run())

    def test_addresses(self) -> None:
        listener = api_listener(AccumulatorApiConfig(listen=":8083"))
        self.assertEqual((listener.interface, listener.port, listener.protocol), ("0.0.0.0", 8083, "http"))
        self.assertEqual(api_listener(AccumulatorApiConfig(listen="[::1]:8083")).interface, "::1")
        self.assertRaises(ConfigError, api_listener, AccumulatorApiConfig(listen="nowhere"))
