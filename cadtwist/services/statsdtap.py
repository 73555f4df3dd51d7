"""The twistd row `statsd`: statsd's config.js in (or statsite's ini, or native TOML), a running daemon out."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.error import CannotListenError
from twisted.logger import Logger, globalLogPublisher
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from cadtwist.config.errors import Problems
from cadtwist.config.load import Loaded
from cadtwist.config.model import WebConfig
from cadtwist.config.statefolder import state_folder
from cadtwist.config.statsd import read_statsd
from cadtwist.config.statsdmodel import StatsdConfig, StatsiteConfig
from cadtwist.config.statsite import read_statsite
from cadtwist.errors import CadtwistError, ConfigError
from cadtwist.net.listeners import TCPListener
from cadtwist.query.owner import NoMetrics
from cadtwist.services.descriptors import raise_file_limit
from cadtwist.services.exits import EXIT_CONFIG as EXIT_NATIVE
from cadtwist.services.exits import exit_with, signals_end_with_zero, stop_reactor
from cadtwist.services.footprint import give_back_files, settle_allocator
from cadtwist.services.handover import Handover, predecessor, spawner
from cadtwist.services.logs import SystemLog
from cadtwist.services.options import loader, make
from cadtwist.services.processfacts import process_facts
from cadtwist.services.reload import Load
from cadtwist.services.statsd import StatsdDaemon
from cadtwist.services.statsite import StatsiteDaemon
from cadtwist.services.webworker import web_site
from cadtwist.services.windowkeeper import NOTHING, Keep
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable

__all__ = ["Options", "StatsdService", "door_of", "makeService", "read_either", "topics_of"]

EXIT_CONFIG = 1
_SAID = {
    "http-port": "a listener of protocol http",
    "state-dir": "wal.directory",
    "log-inputs": "statsd.log_inputs",
    "dogstatsd": "statsd.dogstatsd",
}
_INI = re.compile(r"^\s*\[", re.MULTILINE)
_OBJECT = re.compile(r"^\s*(?:(?://[^\n]*|/\*.*?\*/)\s*)*[({]", re.DOTALL)


class Options(TwistedOptions):
    """What `twistd statsd` understands."""

    optParameters = [
        ["config", "c", None, "statsd's config.js, statsite's ini, or native TOML with [statsd]"],
        ["http-port", None, 0, "port of 127.0.0.1 that tells /metrics and /ledger; 0 = none", int],
        ["state-dir", None, None, "folder of the log and of what waits for graphite; empty = nothing is kept"],
        ["log-inputs", None, "tcp", "whose values are logged until they are told: tcp (unix sockets too), all, none"],
    ]
    optFlags = [["dogstatsd", None, "read DogStatsD's types as well: histograms and distributions as timers"]]

    def postOptions(self) -> None:
        """The file is needed, unless statsite's defaults are meant."""
        if not self["config"]:
            raise UsageError("--config=FILE is needed")
        if self["log-inputs"] not in ("tcp", "all", "none"):
            raise UsageError("--log-inputs is tcp, all or none")
        if _is_toml(self["config"]):
            for name, said in _SAID.items():
                if self[name] != (0 if name == "dogstatsd" else self.defaults.get(name)):
                    raise UsageError(f"--{name} has no meaning with TOML, where {said} says it")


def _is_toml(path: str) -> bool:
    return path.endswith(".toml")


def read_either(text: str, path: str, problems: Problems) -> StatsdConfig | StatsiteConfig:
    """Return the configuration of whichever family `text` is of: an object, or sections."""
    if _INI.search(text) and not _OBJECT.match(text):
        return read_statsite(text, path, problems)
    return read_statsd(text, path, problems)


def _read(path: str) -> tuple[StatsdConfig | StatsiteConfig, Problems]:
    problems = Problems()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        problems.error(path, 0, "", error.strerror or str(error))
        return StatsdConfig(), problems
    return read_either(text, path, problems), problems


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration is told, all faults of it, and ends the process."""
    if _is_toml(options["config"]):
        return make(_native(options), options, EXIT_NATIVE)
    config, problems = _read(options["config"])
    if problems.failed:
        print("\n".join(problems.texts("error")), file=sys.stderr)  # noqa: T201 (before there is a log)
        raise SystemExit(EXIT_CONFIG)
    from twisted.internet import reactor  # noqa: PLC0415 (the reactor is chosen by twistd, after import)

    folder = options["state-dir"]
    if folder is None:
        folder = state_folder(os.environ, door_of(config), os.geteuid())
    remarks = [*problems.texts("warning"), *problems.texts("notice")]
    return StatsdService(
        reactor, options["config"], config, remarks, bool(options["dogstatsd"]), options["http-port"],
        Keep(folder, options["log-inputs"]),
    )  # fmt: skip


def _native(options: Any) -> Load:
    """Return what loads native TOML that has statsd in it."""
    again = loader(options, "native")

    def load() -> Loaded:
        loaded = again()
        if loaded.config.statsd is None:
            raise ConfigError([f"{loaded.path}: there is no [statsd]"])
        return loaded

    return load


def door_of(config: StatsdConfig | StatsiteConfig) -> str:
    """Return a name for the state of a daemon by which no two of a machine are the same: its first door."""
    if isinstance(config, StatsiteConfig):
        return f"statsite-{config.tcp_port or config.udp_port or 'stdin'}"
    first = config.servers[0]
    door = first.socket.strip("/").replace("/", "-") or f"{first.address}-{first.port}"
    return f"statsd-{first.transport}-{door}"


class StatsdService(Service):
    """Builds the daemon when it starts, and runs it."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        config: StatsdConfig | StatsiteConfig,
        warnings: list[str],
        dog: bool,
        http_port: int = 0,
        keep: Keep = NOTHING,
    ) -> None:
        self.daemon: StatsdDaemon | StatsiteDaemon | None = None
        self._reactor = reactor
        self._path = path
        self._config = config
        self._warnings = warnings
        self._dog = dog
        self._http_port = http_port
        self._keep = keep
        self._changed_at = _changed(path)
        self._handover: Handover | None = None
        self._old_hangup: Any = None

    def startService(self) -> None:
        """Build and start everything."""
        super().startService()
        for remark in self._warnings:
            self._log.warn("{remark}", remark=remark)
        settle_allocator()
        raise_file_limit()
        if isinstance(self._config, StatsdConfig):
            _name_process(self._config.title)
            if self._config.log.backend == "syslog":
                where = self._config.log
                globalLogPublisher.addObserver(SystemLog(where.application, where.level))
        former = predecessor(os.environ)
        config, inherited = self._config, None if former is None else former.inherited
        daemon: StatsdDaemon | StatsiteDaemon
        try:
            if isinstance(config, StatsiteConfig):
                daemon = StatsiteDaemon(self._reactor, config, keep=self._keep, inherited=inherited)
            else:
                daemon = StatsdDaemon(
                    self._reactor, config, self._dog, self._reread, keep=self._keep, inherited=inherited
                )
            if self._http_port:
                reports = daemon.doors.joined(_reports(self._reactor, daemon, self._http_port))
                reports.setServiceParent(daemon.service)
            self.daemon = daemon
            daemon.service.startService()
        except (CadtwistError, OSError, CannotListenError) as error:
            print(error, file=sys.stderr)  # noqa: T201 (whoever started us reads it)
            raise SystemExit(EXIT_CONFIG) from None
        if former is not None:
            former.inherited.close()
            former.watch(self._reactor)
        spawn = spawner(self._reactor, sys.argv[1:], os.environ, former)
        self._handover = Handover(self._reactor, daemon, spawn, self._has_passed)
        self._handover.startService()
        self._old_hangup = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hang_up))
        self._reactor.callWhenRunning(signals_end_with_zero, self._reactor)
        self._reactor.callWhenRunning(give_back_files)

    def _hang_up(self) -> None:
        """SIGHUP: read the configuration again, where that can be."""
        if isinstance(self.daemon, StatsdDaemon):
            self.daemon.reload(self._reactor.seconds())

    def _has_passed(self, all_is_well: bool) -> None:
        """The next process has everything, or there is none and we end as at a fault."""
        self.daemon = None
        if not all_is_well:
            print("no process has taken our place", file=sys.stderr, flush=True)  # noqa: T201 (as above)
            atexit.register(exit_with, EXIT_CONFIG)
        stop_reactor(self._reactor)

    def stopService(self) -> Any:
        """Stop everything in order; the Deferred fires when what was told is sent."""
        super().stopService()
        if self._old_hangup is not None:
            signal.signal(signal.SIGHUP, self._old_hangup)
            self._old_hangup = None
        if self.daemon is None:
            return None
        handed = None if self._handover is None else self._handover.leave()
        if handed is not None:
            return handed
        return self.daemon.service.stopService()

    def _reread(self) -> StatsdConfig | None:
        """Return the configuration if its file has changed and is without fault."""
        changed = _changed(self._path)
        if changed == self._changed_at:
            return None
        self._changed_at = changed
        config, problems = _read(self._path)
        for text in problems.texts("error"):
            self._log.warn("the changed configuration is not taken: {text}", text=text)
        return config if isinstance(config, StatsdConfig) and not problems.failed else None


def _name_process(title: str) -> None:
    """Let the system call us so; the empty title leaves what it calls us."""
    if title:
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as file:
            file.write(title)


def _reports(reactor: Any, daemon: StatsdDaemon | StatsiteDaemon, port: int) -> TCPListener:
    """Return the listener that tells how the daemon is."""
    site = web_site(reactor, NoMetrics(topics_of(daemon)), MemoryStore(SchemaTable()), WebConfig(), inline=True)
    return TCPListener("http", reactor, site, "127.0.0.1", port)


def topics_of(daemon: StatsdDaemon | StatsiteDaemon) -> dict[str, Callable[[], object]]:
    """Return what can be asked of a daemon over HTTP."""

    def status() -> dict[str, object]:
        return {
            "program": "statsd" if isinstance(daemon, StatsdDaemon) else "statsite",
            **process_facts(),
            "ready": True,
            "names": len(daemon.space.table),
            "unbalanced": daemon.telemetry.unbalanced(),
        }

    return {"status": status, "ledger": daemon.telemetry.ledger, "waits": list}


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
