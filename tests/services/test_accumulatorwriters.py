"""What accumulators write: whisper files by way of a cache of their own, files of lines."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from cadtwist.config.accumulatormodel import AccumulatorWriterConfig, BinConfig, DriverConfig
from cadtwist.config.accumulatorwriting import WRITTEN_DRIVERS
from cadtwist.config.model import CacheConfig, Config, StorageConfig, WalConfig
from cadtwist.errors import ConfigError
from cadtwist.services.accumulatorwriters import KINDS
from cadtwist.services.build import Daemon
from tests.services.daemons import until
from tests.services.test_accumulators import GRAPHITE, AccumulatorCase, accumulator

BINS = (BinConfig(resolution_s=10.0, ttl_s=36000.0), BinConfig(resolution_s=60.0, ttl_s=360000.0))


class WriterTests(AccumulatorCase):
    def written(self, driver: str = "whisper", bins: tuple[BinConfig, ...] = BINS, most: int = 1 << 20,
                options: dict[str, Any] | None = None, **values: Any) -> Config:  # fmt: skip
        given = tuple((name, str(value)) for name, value in (options or {}).items())
        dsn = self.place(driver)
        writer = AccumulatorWriterConfig(
            metrics=DriverConfig(driver=driver, dsn=dsn, options=given),
            indexer=DriverConfig(driver="noop"), input_queue_length=most,
        )  # fmt: skip
        made = accumulator(**{"backend": "", "bins": bins, "writer": writer, **values})
        return self.accumulating(made, storage=StorageConfig(sparse_create=True))

    def place(self, driver: str) -> str:
        folder = os.path.join(self.folder, driver)
        os.makedirs(folder, exist_ok=True)
        return folder if driver == "whisper" else os.path.join(folder, "bins")

    def rows(self, step: int) -> list[list[str]]:
        with open(f"{self.place('file')}_{step}s", encoding="utf-8") as file:
            return [line.split("\t") for line in file.read().splitlines()]

    def graph(self, daemon: Daemon) -> Any:
        (graph,) = daemon.writers.graphs
        return graph

    def test_whisper_files(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.written(options={"xFilesFactor": 0.1}))
            await self.send(b"a.count:3|c\na.count:4|c\nt.x:1|ms\nt.x:5|ms\ng.max:8|g\n")
            await self.held(daemon, 5)
            begun = int(time.time())
            store = self.graph(daemon).store
            await self.stopped(daemon)
            for name, method, value in (("a.count", "sum", 7.0), ("t.x", "average", 3.0), ("g.max", "max", 8.0)):
                info = store.info(name)
                self.assertEqual(info.archives, ((10, 3600), (60, 6000)))
                self.assertEqual((round(info.xff, 6), info.method), (0.1, method))
                end = int(time.time()) + 10  # in the second of the start the stop tells as of the next one
                series = store.fetch(name, begun - 60, end, end)
                self.assertEqual(np.nansum(series.values), value)
            self.assertEqual(os.listdir(os.path.join(self.place("whisper"), ".wal")), ["lock"])

        return ensureDeferred(run())

    def test_graphite_bins_are_stored_by_their_names(self) -> Any:
        async def run() -> None:
            config = self.written(input_format="graphite", flush_s=10.0)
            config = replace(config, relays=(replace(config.relays[0], lines=GRAPHITE), *config.relays[1:]))
            daemon = await self.start(config)
            start = int(time.time()) // 60 * 60 - 600
            await self.send(b"m.avg 1 %d\nm.avg 3 %d\nm.upper 2 %d\nm.upper 9 %d\n" % (start, start + 9, start, start))
            await self.send(b"m.upper 1 %d\n" % (start + 10))
            await self.taken(daemon, 5)
            store = self.graph(daemon).store
            await self.stopped(daemon)
            now = int(time.time())
            for name, values in (("m.avg", [2.0]), ("m.upper", [9.0, 1.0])):
                found = store.fetch(name, start - 1, start + 10, now).values.tolist()
                self.assertEqual([value for value in found if value == value], values)

        return ensureDeferred(run())

    def test_files_of_lines(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.written("file"))
            await self.send(b"cnt:3|c\ncnt:2|c|@0.5\nt:10|ms\nt:20|ms\n")
            await self.held(daemon, 4)
            await self.stopped(daemon)
            for step, ttl in ((10, "36000"), (60, "360000")):
                rows = {row[0]: row[1:] for row in self.rows(step)}
                stamp = int(rows["cnt"][6])
                self.assertEqual(stamp % (step * 10**9), 0)
                self.assertEqual(rows, {
                    "cnt": ["7.000000", "3.500000", "2.000000", "3.000000", "2", f"{step}.00", str(stamp), ttl],
                    "t": ["30.000000", "15.000000", "10.000000", "20.000000", "2", f"{step}.00", str(stamp), ttl],
                })  # fmt: skip

        return ensureDeferred(run())

    def test_open_bins_are_told_whole_by_the_next_process(self) -> Any:
        async def run() -> None:
            day = (BinConfig(resolution_s=1.0), BinConfig(resolution_s=864000.0))
            wal = WalConfig(directory=os.path.join(self.folder, "wal"), segment_bytes=1 << 20)
            config = replace(self.written("file", bins=day, input_format="graphite", output_format="graphite"), wal=wal)
            config = replace(config, relays=tuple(replace(each, lines=GRAPHITE) for each in config.relays))
            for value in (3, 4):
                daemon = await self.start(config)
                await self.send(b"a.sum %d 86400\n" % value)
                await self.held(daemon, 1)
                daemon.chains.accumulators["x"].flushes.finish(0.0)
                if value == 3:
                    daemon.leave()
                    await self.stop_all()
                    self.assertFalse(os.path.exists(f"{self.place('file')}_864000s"))
            await self.stopped(daemon)
            self.assertEqual([row[:6] for row in self.rows(864000)],
                             [["a.sum", "7.000000", "3.500000", "3.000000", "4.000000", "2"]])  # fmt: skip
            self.assertEqual([name for name in os.listdir(os.path.join(self.folder, "wal", "times-x"))
                              if name.endswith(".seg")], [])  # fmt: skip

        return ensureDeferred(run())

    def test_files_of_lines_by_time(self) -> Any:
        async def run() -> None:
            config = self.written("file", bins=(BinConfig(resolution_s=1.0),), flush_s=1.0)
            daemon = await self.start(config)
            await self.send(b"cnt:3|c\n")
            account = daemon.telemetry.account(f"lines in {self.place('file')}")
            await until(lambda: account.out == 1)
            self.assertEqual(self.rows(1)[0][:2], ["cnt", "3.000000"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_queue_is_bounded_and_a_disk_may_come_back(self) -> Any:
        async def run() -> None:
            config = self.written("file", bins=(BinConfig(resolution_s=1.0),), most=2, flush_s=1.0)
            daemon = await self.start(config)
            os.mkdir(f"{self.place('file')}_1s")
            account = daemon.telemetry.account(f"lines in {self.place('file')}")
            await self.send(b"a:1|c\nb:1|c\nc:1|c\n")
            await until(lambda: account.dropped == {"queue_full": 1} and account.counters.get("failed_syncs"))
            self.assertEqual(account.held(), 2)
            os.rmdir(f"{self.place('file')}_1s")
            await until(lambda: account.out == 2)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_the_bounds_of_the_cache(self) -> Any:
        async def run() -> None:
            options = {"cache_metric_size": 2, "cache_points_size": 1, "writes_per_second": 0.001}
            daemon = await self.start(self.written(options=options, bins=BINS[:1]))
            graph = self.graph(daemon)
            self.assertEqual((graph.drain.rates.updates_per_second, graph.drain.rates.low_fruit_rate), (0.001, 0.25))
            await self.send(b"a:1|c\nb:1|c\nc:1|c\n")
            await self.held(daemon, 3)
            daemon.chains.finish()
            bounds = daemon.telemetry.account(f"cache bounds of {self.place('whisper')}")
            self.assertEqual(bounds.dropped, {"metrics_full": 1})
            await self.stopped(daemon)
            found = [name for name in os.listdir(self.place("whisper")) if name.endswith(".wsp")]
            self.assertEqual(len(found), 2)

        return ensureDeferred(run())

    def test_what_is_only_in_the_log_comes_back(self) -> Any:
        async def run() -> None:
            config = self.written(options={"writes_per_second": 0.001})
            daemon = await self.start(config)
            await self.send(b"a:1|c\nb:1|c\nc:2|c\n")
            await self.held(daemon, 3)
            daemon.chains.finish()
            daemon.turn.end()
            graph = self.graph(daemon)
            graph.writer.leave()
            await self.stop_all()
            again = await self.start(config)
            left = again.telemetry.account(f"write-ahead log of {self.place('whisper')}").counters["replayed"]
            self.assertGreaterEqual(left, 2)
            store = self.graph(again).store
            await self.stopped(again)
            now = int(time.time())
            told = [np.nansum(store.fetch(name, now - 100, now, now).values) for name in "abc"]
            self.assertEqual(told, [1.0, 1.0, 2.0])

        return ensureDeferred(run())

    def test_a_reload_changes_what_can_be_changed(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.written())
            graph = self.graph(daemon)
            daemon.change(self.written(options={"writes_per_second": "-1", "cache_points_size": 5}))
            self.assertEqual((self.graph(daemon), graph.drain.rates.updates_per_second), (graph, float("inf")))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_reload_brings_a_writer(self) -> Any:
        async def run() -> None:
            daemon = await self.start(replace(self.written(), accumulators=()))
            before = daemon.chains
            daemon.change(self.written())
            await until(lambda: daemon.chains is not before and not daemon.ready_waits())
            await self.send(b"a:1|c\n")
            await self.held(daemon, 1)
            await self.stopped(daemon)
            self.assertTrue(os.path.exists(os.path.join(self.place("whisper"), "a.wsp")))

        return ensureDeferred(run())

    def test_a_reload_that_cannot_write_leaves_the_accumulators_as_they_are(self) -> Any:
        async def run() -> None:
            config = self.accumulating()
            daemon = await self.start(config)
            faulty = self.written()
            writer = faulty.accumulators[0].writer
            assert writer is not None
            metrics = replace(writer.metrics, dsn=os.path.join(self.folder, "nowhere"))
            made = replace(faulty.accumulators[0], writer=replace(writer, metrics=metrics))
            daemon.change(replace(faulty, accumulators=(made,)))
            self.assertEqual(daemon.config.accumulators, config.accumulators)
            with self.assertRaises(ConfigError):
                Daemon(daemon.reactor, replace(faulty, accumulators=(made,)))

        return ensureDeferred(run())

    def test_the_cache_of_the_process_may_be_the_backend(self) -> Any:
        async def run() -> None:
            made = accumulator(backend="cache")
            root = os.path.join(self.folder, "own")
            config = self.accumulating(
                made, cache=CacheConfig(), wal=WalConfig(directory=os.path.join(self.folder, "wal")),
                storage=StorageConfig(root=root, sparse_create=True),
            )  # fmt: skip
            config = replace(config, listeners=(replace(config.listeners[0], to=("in",)),))
            daemon = await self.start(config)
            await self.send(b"a:3|c\n")
            await self.held(daemon, 1)
            await self.stopped(daemon)
            self.assertTrue(os.path.exists(os.path.join(root, "stats_counts", "a.wsp")))

        return ensureDeferred(run())

    def test_every_kind_that_may_be_configured_is_there(self) -> None:
        self.assertEqual(tuple(KINDS), WRITTEN_DRIVERS)
