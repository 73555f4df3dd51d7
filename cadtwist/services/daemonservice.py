"""The service that twistd runs for a Config: builds and starts the parts, heeds signals, makes way for the next one."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from cadtwist.config.load import Loaded
from cadtwist.errors import CadtwistError
from cadtwist.net.handover import Inheritance
from cadtwist.services.build import Daemon
from cadtwist.services.descriptors import raise_file_limit
from cadtwist.services.exits import exit_with, fail_with, signals_end_with_zero, stop_reactor
from cadtwist.services.footprint import give_back_files, settle_allocator
from cadtwist.services.handover import Handover, Predecessor, predecessor, spawner
from cadtwist.services.orphans import orphaned
from cadtwist.services.pidfile import PidFile
from cadtwist.services.reload import Load, Reloader
from cadtwist.services.statsrelay import ShardMapDump, inherited_listeners

if TYPE_CHECKING:
    from cadtwist.services.supervisor import Supervisor

__all__ = ["DaemonService"]

_EXIT_ZERO = ("statsrelay", "cadent", "statsd-proxy")
"""Programs that are expected to end with 0 when a signal ends them."""


_MORE_ENDS = {"cadent": (signal.SIGQUIT,)}
"""Signals beside SIGTERM and SIGINT at which a program ends in order."""


class DaemonService(Service):
    """Builds the parts when it starts (as the user whom twistd became then) and runs them.

    What keeps a part from being built (a log that another process uses, a port that is taken) is printed, and the
    process exits with `status`; so it does when that turns out only after the log has been read.  SIGTERM and SIGINT
    while it stops make it leave what is pending in the log.
    """

    _log = Logger()

    def __init__(self, reactor: Any, loaded: Loaded, load_again: Load, status: int) -> None:
        self.loaded = loaded
        self.daemon: Daemon | Supervisor | None = None
        self._reactor = reactor
        self._load_again = load_again
        self._status = status
        self._handover: Handover | None = None
        self._waiting: Supervisor | None = None
        self._pid_file: PidFile | None = None

    def startService(self) -> None:
        """Build and start everything."""
        super().startService()
        for remark in (*self.loaded.warnings, *self.loaded.notices):
            self._log.warn("{remark}", remark=remark)
        settle_allocator()
        if self.loaded.config.istat is None or not self.loaded.config.istat.num_files:
            raise_file_limit()
        former = predecessor(os.environ, self._prepare)
        try:
            daemon = self._made(self._inheritance(former))
        except (CadtwistError, OSError) as error:
            fail_with([str(error)], self._status)
        self.daemon = daemon
        daemon.on_fault = self._fault
        Reloader(self._reactor, daemon, self._load_again).setServiceParent(daemon.service)
        if self._as_statsrelay:
            ShardMapDump(self._reactor, lambda: daemon.config).setServiceParent(daemon.service)
        spawn = spawner(self._reactor, sys.argv[1:], os.environ, former)
        self._handover = Handover(self._reactor, daemon, spawn, self._has_passed)
        try:
            daemon.service.startService()
        except (CadtwistError, OSError, CannotListenError) as error:
            daemon.fail(str(error))
        processes = self.loaded.config.processes
        if processes.pid_file:
            self._pid_file = PidFile(processes.pid_file)
            self._pid_file.write()
        if former is not None:
            former.watch(self._reactor, self._tell_arbiter(processes.pid_file))
        if processes.handover != "none":
            self._handover.startService()
        self._reactor.callWhenRunning(give_back_files)
        program = self.loaded.config.program
        if program in _EXIT_ZERO:
            self._reactor.callWhenRunning(signals_end_with_zero, self._reactor, *_MORE_ENDS.get(program, ()))

    def _tell_arbiter(self, path: str) -> Callable[[], object]:
        """Write beside the pid file the one that gunicorn's arbiters wait for; return what removes it."""
        if not self._as_statsrelay or not path:
            return lambda: None
        second = PidFile(f"{path}.2")
        second.write()
        return second.remove

    def _inheritance(self, former: Predecessor | None) -> Inheritance | None:
        if former is not None:
            return former.inherited
        if self._as_statsrelay:
            return inherited_listeners(os.environ, self.loaded.config)
        return None

    @property
    def _as_statsrelay(self) -> bool:
        return self.loaded.config.processes.handover == "statsrelay"

    def _prepare(self) -> None:
        """Let workers load while the former process still serves."""
        if self.loaded.config.processes.workers > 1:
            self._waiting = self._supervisor()
            self._waiting.load()

    def _supervisor(self) -> Supervisor:
        from cadtwist.services.supervisor import Supervisor  # noqa: PLC0415 (only where there are workers)

        return Supervisor(self._reactor, self.loaded.config)

    def _made(self, inherited: Inheritance | None) -> Daemon | Supervisor:
        config = self.loaded.config
        if config.processes.workers > 1:
            supervisor = self._waiting or self._supervisor()
            if inherited is not None:
                supervisor.take_over(inherited)
            return supervisor
        return Daemon(self._reactor, config, inherited, orphans=orphaned(config.spool.directory, 1))

    def _has_passed(self, all_is_well: bool) -> None:
        """The next process has everything: our service has stopped, so there is nothing left to do.

        If there is none, we end with our status for faults, so that whoever started us starts us again.

        statsrelay's arbiters wait for a file that names the old process, and end that process then.
        """
        self.daemon = None
        path = self.loaded.config.processes.pid_file
        self._pid_file = None
        if not all_is_well:
            self._fault("no process has taken our place")
        elif self._as_statsrelay and path:
            self._pid_file = PidFile(f"{path}.oldbin")
            self._pid_file.write()
        else:
            stop_reactor(self._reactor)

    def _fault(self, text: str) -> None:
        """Print why, stop in order (threads and processes run by now), and exit with our status."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (whoever started us reads it)
        atexit.register(exit_with, self._status)
        self._reactor.callWhenRunning(stop_reactor, self._reactor)

    def stopService(self) -> Any:
        """Stop everything in order; the Deferred fires when all is written."""
        super().stopService()
        if self._pid_file is not None and (self.daemon is None or not self._as_statsrelay):
            self._pid_file.remove()
        if self.daemon is None:
            return None
        handed = None if self._handover is None else self._handover.leave()
        if handed is not None:
            return handed
        old = [(number, signal.signal(number, self._impatient)) for number in (signal.SIGTERM, signal.SIGINT)]

        def restore(result: Any) -> Any:
            for number, handler in old:
                signal.signal(number, handler)
            return result

        return self.daemon.service.stopService().addBoth(restore)

    def _impatient(self, *_: object) -> None:
        if self.daemon is not None:
            self._reactor.callFromThread(self.daemon.leave)
