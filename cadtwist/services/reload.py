"""Takes a changed configuration into the running process: all that can be taken, or nothing and the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from cadtwist.config.load import Loaded
from cadtwist.config.model import Config
from cadtwist.config.reload import LISTS, SCHEMAS, clashes, difference, merged, rules_of
from cadtwist.errors import ConfigError
from cadtwist.services.tlsneed import names_tls, tls_is_left_out

__all__ = ["Load", "Reloader"]

Load = Callable[[], Loaded]
FileStates = tuple[tuple[int, int, int] | None, ...]


def file_states(paths: tuple[str, ...]) -> FileStates:
    """Return what tells whether a file was changed (inode, size, time), None for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            told = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((told.st_ino, told.st_size, told.st_mtime_ns))
    return tuple(found)


@dataclass
class _Look:
    """A regular look at the files behind `paths` of the Config."""

    paths: tuple[str, ...]
    interval_s: Callable[[Config], float]
    state: FileStates | None = None
    call: IDelayedCall | None = None


def _lists_s(config: Config) -> float:
    return config.reload.lists_s


def _schemas_s(config: Config) -> float:
    return config.reload.schemas_s


class Reloader(Service):
    """SIGHUP reads all files again; between, the rule files are looked at as often as the configuration says.

    A look reads nothing unless a file has changed since the last one of its kind.  `load()` returns the configuration
    anew or raises ConfigError; `daemon` is a `services.build.Daemon` or a `Supervisor`.  Reactor thread.
    """

    name = "reload"
    _log = Logger()

    def __init__(self, reactor: Any, daemon: Any, load: Load) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._load = load
        self._account = daemon.telemetry.account("configuration")
        self._looks = (_Look(SCHEMAS, _schemas_s), _Look(LISTS, _lists_s))
        self._old_handler: Any = None
        self._complaint: list[str] = []
        self._files: tuple[str, ...] = ()

    def startService(self) -> None:
        """Listen to SIGHUP and start the timer."""
        super().startService()
        if hasattr(signal, "SIGHUP"):
            self._old_handler = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload_all))
        self._schedule()

    def stopService(self) -> None:
        """Look at no file any more; rules that are being prepared come to nothing."""
        super().stopService()
        if self._old_handler is not None:
            signal.signal(signal.SIGHUP, self._old_handler)
            self._old_handler = None
        self._cancel()
        self._daemon.stop_changing()

    def reload_all(self) -> bool:
        """Read everything again and take what a running process can take; False when nothing was taken."""
        loaded = self._loaded()
        if loaded is None:
            return False
        found = difference(self._daemon.config, loaded.config)
        for refused in found.refused:
            self._log.warn("{change}: needs a restart, the old value stays", change=str(refused))
        problems = clashes(self._daemon.config, loaded.config)
        for problem in problems:
            self._log.error("{problem}", problem=problem)
        if problems:
            self._log.error("what changed does not fit what needs a restart; the old configuration stays")
            self._account.count("failed_reloads")
            return False
        for change in found.changes:
            self._log.info("{change}", change=str(change))
        self.apply(merged(self._daemon.config, loaded.config))
        self._account.count("reloads")
        return True

    def reload_rules(self, paths: tuple[str, ...]) -> None:
        """Read again what the Config has at `paths` (SCHEMAS or LISTS), and no more."""
        loaded = self._loaded()
        if loaded is not None:
            self._files = loaded.files
            self.apply(rules_of(self._daemon.config, loaded.config, paths))

    def _loaded(self) -> Loaded | None:
        """Return the configuration, or None after logging each fault that was not logged the last time."""
        try:
            loaded = self._load()
            if tls_is_left_out() and names_tls(loaded.config):
                raise ConfigError([f"{loaded.path}: TLS: this process was started without it and needs a restart"])
        except ConfigError as error:
            self._account.count("failed_reloads")
            if error.problems != self._complaint:
                for problem in error.problems:
                    self._log.error("{problem}", problem=problem)
                self._log.error("the configuration has faults; the old one stays")
            self._complaint = error.problems
            return None
        self._complaint = []
        return loaded

    def _schedule(self) -> None:
        """Plan each look anew."""
        self._cancel()
        for look in self._looks:
            seconds = look.interval_s(self._daemon.config)
            if seconds and self.running:
                look.call = self._reactor.callLater(seconds, self._look, look)

    def _cancel(self) -> None:
        for look in self._looks:
            if look.call is not None and look.call.active():
                look.call.cancel()
            look.call = None

    def _look(self, look: _Look) -> None:
        seconds = look.interval_s(self._daemon.config)
        look.call = self._reactor.callLater(seconds, self._look, look) if seconds else None
        state = file_states(self._files)
        if not self._files or state != look.state:
            self.reload_rules(look.paths)
            look.state = state

    def apply(self, new: Config) -> None:
        """Run on with `new`, which differs only in what can be taken."""
        old = self._daemon.config
        if new != old:
            self._daemon.change(new)
            if new.reload != old.reload:
                self._schedule()
