"""The whole graph in one process: unix sockets in, files out, queries from memory, reloads, replay."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from cadtwist.config.load import Loaded
from cadtwist.config.model import Config, Listener, ReloadConfig, StagesConfig, WebConfig, WriterConfig
from cadtwist.errors import ConfigError
from cadtwist.kernels import active
from cadtwist.services.build import Daemon
from cadtwist.services.reload import Reloader
from tests.services.daemons import DaemonCase, reactor, until


class DaemonTests(DaemonCase):
    """Each test builds its own daemon."""

    def test_a_point_goes_into_its_file_and_out_to_a_query(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.config())
            now = int(time.time())
            await self.send(b"a.b.c 42 %d\nbad line\na.b.d 7 -1\n" % now)
            await until(lambda: daemon.telemetry.account("cache").out == 2)
            self.assertTrue(os.path.exists(os.path.join(self.folder, "whisper", "a", "b", "c.wsp")))
            series = daemon.kept.store.fetch("a.b.c", now - 120, now, now)
            self.assertEqual(np.nansum(series.values), 42)
            found = daemon.kept.owner.find(["a.b.*"])
            self.assertEqual([path for path, _ in found[0]], ["a.b.c", "a.b.d"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_what_was_only_in_the_log_comes_back(self) -> Any:
        held_back = WriterConfig(max_updates_per_second=0.001, on_shutdown_updates_per_second=float("inf"))

        async def run() -> None:
            daemon = await self.start(self.config(writer=held_back))
            await self.send(b"".join(b"m.%d %d 1700000000\n" % (i, i) for i in range(500)))
            await until(lambda: daemon.telemetry.account("write-ahead log").counters.get("logged") == 500)
            self.assertGreaterEqual(daemon.kept.points.points, 499)
            self.balanced(daemon)
            # the process dies: nothing is drained, only the lock of the folder goes
            crashed = self.daemons.pop()
            await self.die(crashed)
            again = await self.start(self.config(writer=held_back))
            self.assertGreaterEqual(again.kept.points.points, 499)
            known = again.kept.table.lookup(b"m.77")
            _, timestamps, values = again.kept.points.peek_many(np.array([known], np.uint32))
            self.assertEqual((timestamps.tolist(), values.tolist()), ([1700000000.0], [77.0]))
            self.balanced(again)

        return ensureDeferred(run())

    def test_a_stop_drains_to_the_files(self) -> Any:
        async def run() -> None:
            rates = WriterConfig(max_updates_per_second=0.001, on_shutdown_updates_per_second=float("inf"))
            daemon = await self.start(self.config(writer=rates))
            now = int(time.time())
            await self.send(b"".join(b"d.%d 1 %d\n" % (i, now) for i in range(100)))
            await until(lambda: daemon.telemetry.account("cache").received == 100)
            await self.stop_all()
            self.assertEqual(len(os.listdir(os.path.join(self.folder, "whisper", "d"))), 100)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_reload_takes_rules_and_rates(self) -> Any:
        async def run() -> None:
            config = self.config(reload=ReloadConfig(schemas_s=0, lists_s=0))
            daemon = await self.start(config)
            files = {"config": config}

            def load() -> Loaded:
                if "fault" in files:
                    raise ConfigError(["x.toml:1: writer.threads: wrong"])
                return Loaded(files["config"], (), (), "x.toml", "native", ())

            reloader = Reloader(reactor, daemon, load)
            await self.send(b"evil.a 1 -1\ngood.a 1 -1\n")
            await until(lambda: daemon.telemetry.account("names").out == 2)
            files["config"] = replace(config, stages=StagesConfig(blacklist=("^evil",)), writer=WriterConfig(threads=3))
            self.assertTrue(reloader.reload_all())
            await until(lambda: daemon.chains.explain(("cache",), "evil.a")[0].endswith("dropped (blacklist)"))
            await self.send(b"evil.a 2 -1\nevil.b 2 -1\ngood.a 2 -1\n")
            await until(lambda: daemon.telemetry.account("names").received == 5)
            self.assertEqual(daemon.telemetry.account("names").dropped, {"blacklist": 2})
            self.assertEqual(daemon.config.writer.threads, 1, "needs a restart")
            self.assertEqual(daemon.config.writer.max_updates_per_second, 500.0)
            files["fault"] = config
            self.assertFalse(reloader.reload_all())
            self.assertEqual(daemon.config.stages.blacklist, ("^evil",))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_points_that_are_too_old_are_dropped(self) -> Any:
        """Also where others of the same metric were written."""

        async def run() -> None:
            daemon = await self.start(self.config())
            now = int(time.time())
            await self.send(b"late.a 1 %d\nlate.a 2 %d\nlate.a 3 1000000\n" % (now, now - 60))
            cache = daemon.telemetry.account("cache")
            await until(lambda: cache.received == 3 and not daemon.kept.points.points)
            self.assertEqual((cache.out, cache.dropped, cache.counters["committed_points"]), (2, {"too_old": 1}, 2))
            self.assertEqual(daemon.telemetry.account("files").gauges["created"](), 1)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_a_big_log_survives_a_stop_while_it_is_read(self) -> Any:
        """While it is read the process goes on answering, and no segment goes; a stop leaves it as it was."""
        held_back = WriterConfig(max_updates_per_second=0.001, max_creates_per_minute=0)

        async def run() -> None:
            daemon = await self.start(self.config(writer=held_back))
            for start in range(0, 200_000, 20_000):
                await self.send(b"".join(b"big.m%d 1 1700000000\n" % n for n in range(start, start + 20_000)))
            logged = daemon.telemetry.account("write-ahead log").counters
            await until(lambda: logged.get("logged") == 200_000)
            await self.die(self.daemons.pop())
            again = Daemon(reactor, self.config(writer=held_back))
            again.service.startService()
            for _ in range(3):
                await until(lambda: True)
                again.turn.end()
            await again.service.stopService()
            self.assertTrue(again.kept.replaying, "stopped while it was reading")
            third = await self.start(self.config(writer=held_back))
            self.assertEqual(third.kept.points.points, 200_000)
            self.balanced(third)
            await self.die(self.daemons.pop())

        return ensureDeferred(run())

    def test_no_cache_is_an_error(self) -> None:
        self.assertRaises(ConfigError, Daemon, reactor, Config())

    def test_web_processes_may_see_what_waits(self) -> Any:
        """The points themselves, and that new metrics have some."""
        held_back = WriterConfig(max_updates_per_second=0.001, on_shutdown_updates_per_second=float("inf"))

        async def run() -> None:
            door = Listener(protocol="http", transport="unix", path=os.path.join(self.folder, "http.sock"))
            for workers in (0, 1):
                config = self.config(writer=held_back, web=WebConfig(workers=workers))
                daemon = await self.start(replace(config, listeners=(*config.listeners, door)))
                kept, ids = daemon.kept, int(daemon.kept.changed.ids[0])
                await self.send(b"w.a 1 1700000000\nw.b 2 1700000000\nw.a 3 1700000060\n")
                await until(lambda kept=kept: kept.points.appended[0] >= 3)
                self.assertGreater(int(kept.changed.ids[0]), ids)
                descriptor = kept.changed.points_fd
                self.assertEqual(descriptor is not None, active.NATIVE and workers == 1)
                if descriptor is not None:
                    near = active.hotpoints.SharedPoints(descriptor)
                    asked = np.array([kept.table.lookup(b"w.b")], np.uint32), np.zeros(1), 0.0, float("inf")
                    await until(lambda near=near, asked=asked: near.peek_within(*asked) is not None)
                    self.assertEqual([column.tolist() for column in near.peek_within(*asked)], [[0, 1], [1.7e9], [2.0]])
                await self.stop_all()

        return ensureDeferred(run())
