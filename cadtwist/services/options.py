"""Command line and start of the twistd rows: read the configuration, say what is wrong with it, build the graph."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.application.service import IService, Service
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import Logger
from twisted.python.usage import Options, UsageError

from cadtwist.config.load import Loaded, load
from cadtwist.config.model import Config
from cadtwist.errors import CadtwistError, ConfigError
from cadtwist.net.handover import Inheritance
from cadtwist.services.allocator import settle_allocator
from cadtwist.services.build import Daemon
from cadtwist.services.descriptors import raise_file_limit, set_file_limit
from cadtwist.services.handover import Handover, Predecessor, predecessor, spawner
from cadtwist.services.orphans import orphaned
from cadtwist.services.pidfile import PidFile
from cadtwist.services.reload import Reloader
from cadtwist.services.statsrelay import ShardMapDump, inherited_listeners

if TYPE_CHECKING:
    from cadtwist.services.supervisor import Supervisor

__all__ = ["EXIT_CONFIG", "EXIT_LEGACY", "CarbonOptions", "DaemonService", "NativeOptions", "loader", "make"]

EXIT_LEGACY = 1
Load = Callable[[], Loaded]
_OVERRIDES = ("logdir", "whitelist", "blacklist", "rules", "aggregation-rules", "rewrite-rules", "pid-file", "prereg")
"""Options that stand in place of what the file says, or beside it."""

EXIT_CONFIG = 2
_EXIT_ZERO = ("statsrelay", "cadent", "statsd-proxy")
"""Programs that are expected to end with 0 when a signal ends them."""


class CarbonOptions(Options):
    """What `twistd carbon-cache` understands, as carbon's own plugin does."""

    optParameters = [
        ["config", "c", None, "carbon.conf to use (default: conf/carbon.conf under GRAPHITE_ROOT)"],
        ["instance", None, "a", "name of this instance: section [cache:<name>], log, pid file and own metrics"],
        ["logdir", None, None, "folder of the log files (default: from the configuration)"],
        ["whitelist", None, None, "file of patterns: only what matches is accepted"],
        ["blacklist", None, None, "file of patterns: what matches is dropped"],
    ]
    optFlags = [["debug", None, "log debug messages"]]

    def parseArgs(self, *action: str) -> None:
        """Accept the word `start`, which carbon's scripts pass on."""
        if action not in ((), ("start",)):
            raise UsageError(f"Invalid action '{' '.join(action)}'")


class NativeOptions(Options):
    """What `twistd cadtwist` understands."""

    optParameters = [
        ["config", "c", "cadtwist.toml", "configuration: native TOML, or any dialect that is recognised"],
        ["instance", None, "a", "name of this instance, where the file does not say it"],
    ]


def fail_with(problems: list[str], status: int) -> NoReturn:
    """Print all problems to stderr and exit with `status`."""
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 (before there is a log)
    raise SystemExit(status)


def loader(
    options: Mapping[str, Any], dialect: str | None, environ: Mapping[str, str] = os.environ, program: str = ""
) -> Load:
    """Return what loads the configuration of the command line, now and at each reload.

    `program` says whose section of a carbon.conf is meant.
    """
    overrides = {key.replace("-", "_"): options[key] for key in _OVERRIDES if options.get(key)}

    def again() -> Loaded:
        return load(
            options["config"],
            dialect=dialect,
            program=program,
            instance=options.get("instance") or "a",
            environ=environ,
            overrides=overrides,
        )

    return again


def make(load_again: Load, options: Any, status: int, start_status: int | None = None) -> IService:
    """Return the service that runs the configuration; with faults, print all of them and exit with `status`.

    `start_status` is the one of a start that fails, where it is another.
    """
    try:
        loaded = load_again()
    except ConfigError as error:
        fail_with(error.problems, status)
    from twisted.internet import reactor  # noqa: PLC0415 (the reactor is chosen by twistd, after import)

    _allow_files(loaded.config, status)
    _become(options, loaded.config, status)
    return DaemonService(reactor, loaded, load_again, status if start_status is None else start_status)


def _exit_with(status: int) -> None:
    """End the process with `status`: the reactor's end knows no other than zero."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _allow_files(config: Config, status: int) -> None:
    """Set the limit of open files that a counter daemon asks for, while we may."""
    if config.istat is not None and config.istat.num_files:
        try:
            set_file_limit(config.istat.num_files)
        except (OSError, ValueError) as error:
            fail_with([f"num-files: {config.istat.num_files}: {error}"], status)


def _become(options: Any, config: Config, status: int) -> None:
    """Tell twistd to become the user of the configuration after it wrote its pid file, as carbon's option USER does.

    Folders of a counter daemon are made, and given to that user, as istatd does.
    """
    user = config.user
    if not user or getattr(options, "parent", None) is None or options.parent.get("uid") is not None:
        return
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        for folder in () if config.istat is None else config.istat.folders:
            os.makedirs(folder, exist_ok=True)
            os.chown(folder, found.pw_uid, found.pw_gid)
    except (KeyError, OSError) as error:
        fail_with([f"user: {user}: {error}"], status)
    options.parent["uid"], options.parent["gid"] = found.pw_uid, found.pw_gid


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
        spawn = spawner(self._reactor, sys.argv[1:], os.environ)
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
        if self.loaded.config.program in _EXIT_ZERO:
            self._reactor.callWhenRunning(self._stop_quietly)

    def _stop_quietly(self) -> None:
        """End with 0 when told to: the reactor's own handlers make twistd end by the signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop_reactor))

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
            self._stop_reactor()

    def _fault(self, text: str) -> None:
        """Print why, stop in order (threads and processes run by now), and exit with our status."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (whoever started us reads it)
        atexit.register(_exit_with, self._status)
        self._reactor.callWhenRunning(self._stop_reactor)

    def _stop_reactor(self) -> None:
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def stopService(self) -> Any:
        """Stop everything in order; the Deferred fires when all is written."""
        super().stopService()
        if self._pid_file is not None and (self.daemon is None or not self._as_statsrelay):
            self._pid_file.remove()
        if self.daemon is None:
            return None
        if self._handover is not None:
            handed = self._handover.stopService()
            if self._handover.under_way:
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
