"""A daemon within the test's own process, in a folder of its own."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from msgspec.structs import replace
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cadtwist.config.model import (
    CacheConfig,
    Config,
    Listener,
    SelfMetricsConfig,
    StorageConfig,
    WalConfig,
    WebConfig,
    WriterConfig,
)
from cadtwist.services.build import Daemon

__all__ = ["DaemonCase", "reactor", "until"]

reactor: Any = real_reactor
DEADLINE_S = 60.0


async def until(condition: Any) -> None:
    """Let the reactor run until `condition()` holds."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it does not come true")
        await deferLater(reactor, 0.005, lambda: None)


class DaemonCase(TestCase):
    """Each test builds its own daemon in a folder of its own."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = os.path.relpath(self.mktemp())
        os.makedirs(self.folder)
        self.door = os.path.join(self.folder, "line.sock")
        self.daemons: list[Daemon] = []

    def tearDown(self) -> Any:
        return ensureDeferred(self.stop_all())

    async def stop_all(self) -> None:
        for daemon in self.daemons:
            await daemon.service.stopService()
        self.daemons = []

    def config(self, **changes: Any) -> Config:
        base = Config(
            listeners=(Listener(protocol="line", transport="unix", path=self.door),),
            cache=CacheConfig(),
            wal=WalConfig(directory=os.path.join(self.folder, "wal"), segment_bytes=1 << 20, max_bytes=4 << 20),
            storage=StorageConfig(root=os.path.join(self.folder, "whisper"), sparse_create=True),
            web=WebConfig(workers=0),
            writer=WriterConfig(max_updates_per_second=float("inf")),
            self_metrics=SelfMetricsConfig(interval_s=0),
        )
        return replace(base, **changes)

    async def start(self, config: Config) -> Daemon:
        daemon = Daemon(reactor, config)
        daemon.service.startService()
        self.daemons.append(daemon)
        await until(lambda: not daemon.ready_waits() and os.path.exists(self.door))
        return daemon

    async def send(self, data: bytes) -> None:
        """Send `data` to the unix door, from another thread: it may be more than the kernel holds."""

        def send() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.door)
                client.sendall(data)

        await deferToThread(send)

    def balanced(self, daemon: Daemon) -> None:
        unbalanced = {a.name: a.snapshot() for a in daemon.telemetry.accounts.values() if a.balance()}
        self.assertEqual(unbalanced, {})

    async def die(self, daemon: Daemon) -> None:
        """Take the daemon's threads, timers and sockets away without letting it write anything more."""
        daemon.kept.writer.leave()
        await daemon.service.stopService()
