"""The logs of accumulators: what is open survives the process."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.model import Config, WalConfig
from cadtwist.model.batch import Batch
from cadtwist.services.build import Daemon
from tests.services.daemons import until
from tests.services.test_accumulators import GRAPHITE, STATSD, AccumulatorCase, accumulator

_GRAPHITE = accumulator(input_format="graphite", flush_s=3600.0)


class LogTests(AccumulatorCase):
    def logged(self, made: AccumulatorConfig, place: str = "wal", **changes: Any) -> Config:
        lines = STATSD if made.input_format == "statsd" else GRAPHITE
        folder = os.path.join(self.folder, place)
        return self.accumulating(made, lines=lines, wal=WalConfig(directory=folder, segment_bytes=1 << 20), **changes)

    def left(self, place: str = "wal") -> list[str]:
        """Return the segments that are left."""
        found = [name for _, _, names in os.walk(os.path.join(self.folder, place)) for name in names]
        return [name for name in found if name != "lock"]

    def copy(self) -> None:
        """Copy the logs; spare segments that are made or go meanwhile hold nothing."""
        with contextlib.suppress(shutil.Error):
            shutil.copytree(os.path.join(self.folder, "wal"), os.path.join(self.folder, "copy"))

    async def crashed(self, made: AccumulatorConfig, data: bytes, points: int) -> None:
        """Let a process take `data`, and have its log as kill -9 leaves it in `copy`."""
        daemon = await self.start(self.logged(made))
        await self.send(data)
        await self.held(daemon, points)
        daemon.turn.end()
        self.copy()
        await self.stopped(daemon)
        for sink in self.sinks.values():
            sink.lines.clear()

    def test_sums_survive(self) -> Any:
        async def run() -> None:
            await self.crashed(accumulator(), b"c:3|c\nc:1|c|@0.5\ng:5|g\ns:x|s\nt:1|ms\n", 5)
            daemon = await self.start(self.logged(accumulator(), "copy"))
            await self.held(daemon, 5)
            self.balanced(daemon)
            await self.send(b"c:4|c\ng:+1|g\ns:x|s\ns:y|s\nt:3|ms\n")
            await self.held(daemon, 10)
            await self.stopped(daemon)
            told = self.named()
            self.assertEqual(
                [told[f"stats{name}"] for name in ("_counts.c", ".gauges.g", ".sets.s", ".timers.t.sum")],
                ["9.000000", "6.000000", "2.000000", "4.000000"],
            )
            self.assertEqual(self.left("copy"), [])

        return ensureDeferred(run())

    def test_bins_survive(self) -> Any:
        async def run() -> None:
            await self.crashed(_GRAPHITE, b"a.sum 1 3600\na.sum 2 3601\nb.max 7 7200\n", 3)
            daemon = await self.start(self.logged(_GRAPHITE, "copy"))
            await self.held(daemon, 3)
            self.balanced(daemon)
            await self.send(b"a.sum 4 3602\nb.max 5 7201\n")
            await self.held(daemon, 5)
            await self.stopped(daemon)
            self.assertEqual(self.sinks["d1"].lines, [b"a.sum 7.000000 3600", b"b.max 7.000000 7200"])
            self.assertEqual(self.left("copy"), [])

        return ensureDeferred(run())

    def test_what_is_told_is_not_told_again(self) -> Any:
        async def run() -> None:
            for made, data, points in (
                (accumulator(flush_s=1.0), b"c:3|c\n", 2),
                (accumulator(input_format="graphite", flush_s=1.0), b"a.sum 1 1000\n", 1),
            ):
                daemon = await self.start(self.logged(made))
                await self.send(data)
                await until(lambda points=points: len(self.sinks["d1"].lines) == points)
                assert daemon.sums.logs is not None
                ((_, log),) = daemon.sums.logs._logs.values()
                await until(lambda log=log, made=made: self.empty(log, made))
                await self.stopped(daemon)
                self.sinks["d1"].lines.clear()

        return ensureDeferred(run())

    def empty(self, log: Any, made: AccumulatorConfig) -> bool:
        """Tell whether a log has nothing that a start would read."""
        shutil.rmtree(os.path.join(self.folder, "copy"), ignore_errors=True)
        self.copy()
        again = Daemon(self.daemons[0].reactor, self.logged(made, "copy"))
        assert again.sums.logs is not None
        again.sums.logs._running = True
        again.sums.logs.join(again.config, again.chains.accumulators)
        account = again.telemetry.account("accumulator x")
        found = account.made
        for _, opened in again.sums.logs._logs.values():
            opened.close(keep=False)
        return not found

    def test_a_handover_leaves_what_is_open_to_the_next(self) -> Any:
        async def run() -> None:
            for made, data, lines in (
                (accumulator(), b"c:3|c\n", [b"stats.counters.c 0.000833", b"stats_counts.c 3.000000"]),
                (_GRAPHITE, b"a.sum 1 3600\n", [b"a.sum 1.000000"]),
            ):
                daemon = await self.start(self.logged(made))
                await self.send(data)
                await self.held(daemon, 1)
                daemon.leave()
                await self.stop_all()
                self.assertEqual(self.total(), 0)
                again = await self.start(self.logged(made))
                await self.held(again, 1)
                await self.stopped(again)
                told = [line.rpartition(b" ")[0] for line in self.sinks["d1"].lines]
                self.assertEqual(sorted(told), lines)
                self.sinks["d1"].lines.clear()

        return ensureDeferred(run())

    def test_a_reload_gives_logs_and_takes_them(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.logged(accumulator()))
            await self.send(b"c:3|c\n")
            await self.held(daemon, 1)
            before = daemon.chains
            daemon.change(self.logged(accumulator(keep_keys=True)))
            await until(lambda: daemon.chains is not before)
            await self.send(b"c:4|c\n")
            await self.held(daemon, 1)
            daemon.leave()
            await self.stop_all()
            again = await self.start(self.logged(accumulator(keep_keys=True)))
            await self.held(again, 1)
            await self.stopped(again)

        return ensureDeferred(run())

    def test_the_first_accumulator_that_a_reload_brings_has_its_log_at_once(self) -> Any:
        async def run() -> None:
            for made, data in ((accumulator(), b"c:3|c\n"), (_GRAPHITE, b"a.sum 1 3600\n")):
                config = self.logged(made)
                daemon = await self.start(replace(config, accumulators=()))
                self.assertIsNone(daemon.sums.logs)
                before = daemon.chains
                daemon.change(config)
                await until(lambda daemon=daemon, before=before: daemon.chains is not before)
                await self.send(data)
                await self.held(daemon, 1)
                daemon.turn.end()
                self.copy()
                await self.stopped(daemon)
                again = await self.start(self.logged(made, "copy"))
                await self.held(again, 1)
                self.balanced(again)
                await self.stopped(again)
                shutil.rmtree(os.path.join(self.folder, "copy"))

        return ensureDeferred(run())

    def test_datagrams_alone_are_not_logged(self) -> Any:
        async def run() -> None:
            config = self.logged(accumulator())
            away = replace(config.listeners[0], to=("far",))
            daemon = await self.start(replace(config, listeners=(away,)))
            assert daemon.sums.logs is not None
            self.assertEqual(daemon.sums.logs._logs, {})
            self.assertFalse(os.path.exists(os.path.join(self.folder, "wal")))

        return ensureDeferred(run())

    def test_a_handover_logs_what_datagrams_brought(self) -> Any:
        async def run() -> None:
            config = self.logged(_GRAPHITE)
            away = replace(config, listeners=(replace(config.listeners[0], to=("far",)),))
            for value in (1, 2):
                daemon = await self.start(away)
                assert daemon.sums.logs is not None
                self.assertEqual((daemon.sums.logs._logs, list(daemon.sums.logged)), ({}, ["x"]))
                self.fed(daemon, b"a.sum", 3600.0 + value, float(value))
                if value == 1:
                    daemon.leave()
                    await self.stop_all()
                    self.assertEqual(self.sinks["d1"].lines, [])
            await self.stopped(daemon)
            self.assertEqual(self.sinks["d1"].lines, [b"a.sum 3.000000 3600"])
            self.assertEqual(self.left(), [])

        return ensureDeferred(run())

    def fed(self, daemon: Daemon, name: bytes, when: float, value: float) -> None:
        """Put a datapoint into the window as if a datagram had brought it."""
        number = daemon.chains.accumulators["x"].names.table.intern(name, 0)
        batch = Batch(np.array([number], np.uint32), np.array([when]), np.array([value]))
        daemon.chains.accumulators["x"].entry.accept(batch)

    def test_a_folder_that_cannot_be_had_costs_only_the_log(self) -> Any:
        async def run() -> None:
            os.mkdir(os.path.join(self.folder, "wal"))
            with open(os.path.join(self.folder, "wal", "sums-x"), "w", encoding="utf-8"):
                pass
            daemon = await self.start(self.logged(accumulator()))
            await self.send(b"c:3|c\n")
            await self.held(daemon, 1)
            await self.stopped(daemon)
            self.assertEqual(self.named()["stats_counts.c"], "3.000000")

        return ensureDeferred(run())
