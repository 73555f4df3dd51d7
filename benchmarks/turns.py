#!/usr/bin/env python3
"""A daemon that measures its reactor's turns: `turns.py CONFIG`, native TOML, or `turns.py statsd ARGUMENT ...`.

SIGHUP reloads the native one, as it does for twistd; statsd's arguments are those of `twistd statsd`.

SIGUSR1 begins anew, SIGTERM ends; both print {"turns", "longest_ms", "longest_cpu_ms"} as a line of JSON.  A turn is
what happens between two waits for events; its CPU time is that of the reactor's thread.  Measuring costs about a
microsecond a turn.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.application.service import IService
from twisted.internet import epollreactor
from twisted.internet.main import installReactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from cadtwist.config.load import load
from cadtwist.services.build import Daemon
from cadtwist.services.footprint import settle_allocator
from cadtwist.services.reload import Reloader
from cadtwist.services.statsdtap import Options, makeService


class Turns:
    """Counts turns and keeps the longest; stands between a reactor and its `poller`."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self.turns, self.longest_s, self.longest_cpu_s = 0, 0.0, 0.0
        self._now, self._cpu = time.perf_counter(), time.thread_time()

    def poll(self, *arguments: Any) -> Any:
        """End a turn, wait for events as the poller does, and begin the next one."""
        self.longest_s = max(self.longest_s, time.perf_counter() - self._now)
        self.longest_cpu_s = max(self.longest_cpu_s, time.thread_time() - self._cpu)
        self.turns += 1
        events = self._poller.poll(*arguments)
        self._now, self._cpu = time.perf_counter(), time.thread_time()
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def tell(self) -> None:
        """Print what was found, and begin anew."""
        figures = {"turns": self.turns, "longest_ms": self.longest_s * 1e3, "longest_cpu_ms": self.longest_cpu_s * 1e3}
        print(json.dumps(figures), flush=True)
        self.begin()


def _native(reactor: Any, path: str) -> IService:
    """Return the daemon of a native configuration."""
    settle_allocator()
    load_again = partial(load, path, dialect="native", environ={})
    daemon = Daemon(reactor, load_again().config)
    Reloader(reactor, daemon, load_again).setServiceParent(daemon.service)
    return daemon.service


def _statsd(arguments: list[str]) -> IService:
    """Return the service of `twistd statsd`."""
    options = Options()
    options.parseOptions(arguments)
    service: IService = makeService(options)
    return service


def main() -> None:
    reactor: Any = epollreactor.EPollReactor()
    installReactor(reactor)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    service = _statsd(sys.argv[2:]) if sys.argv[1] == "statsd" else _native(reactor, sys.argv[1])
    turns = reactor._poller = Turns(reactor._poller)
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(turns.begin)
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(turns.tell))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    turns.tell()


if __name__ == "__main__":
    main()
