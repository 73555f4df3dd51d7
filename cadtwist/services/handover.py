"""A new process takes the place of this one without a gap: SIGUSR2.

The new process is started with our command line, loads code and configuration and waits.  Then this one stops
reading, hands over what it received, closes its logs, passes its sockets and ends; the new one replays the logs and
goes on reading.  Where intervals are open that are in no log, this one waits for their end, and tells them whole.
Clients notice nothing: what they send meanwhile waits in the kernel.  A new process that cannot start changes nothing
here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.config.arguments import without_option
from cadtwist.net.handover import (
    NOT_WANTED,
    READY,
    FdChannel,
    Inheritance,
    NotWanted,
    Passed,
    close_all,
    receive_all,
    send_all,
)
from cadtwist.services.passing import DRAIN_S
from cadtwist.services.pidfile import PidFile

__all__ = ["Handover", "Predecessor", "Watch", "command_line", "load_modules", "predecessor", "spawner"]

HANDOVER_FD = "CADTWIST_HANDOVER_FD"
HANDOVER_PIDFILE = "CADTWIST_HANDOVER_PIDFILE"
HANDOVER_MODULES = "CADTWIST_HANDOVER_MODULES"
_PACKAGE = "cadtwist"
_CHILD_FD = 3
_LOADING_S = 120.0
_WAITING_S = 60.0
_NOTED_S = 0.1
_MOST_TRIES = 3
_RUN_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def command_line(arguments: Sequence[str]) -> tuple[list[str], str]:
    """Return the command that starts the daemon again, and the pid file that twistd wrote for this one.

    `arguments` are twistd's.  The new process must not look at the pid file, which names us; it writes it later.
    """
    found, kept = without_option(arguments, "--pidfile")
    path = "twistd.pid" if found is None else found
    return [sys.executable, "-c", _RUN_TWISTD, "--pidfile=", *kept], path and os.path.abspath(path)


def spawner(
    reactor: Any, arguments: Sequence[str], environ: MutableMapping[str, str], former: Predecessor | None = None
) -> Callable[[int], Any]:
    """Return what starts the next process with the descriptor of its end of the channel.

    `former`: whose place we have taken; it told us twistd's pid file.
    """

    def spawn(fd: int) -> Any:
        command, pid_path = command_line(arguments)
        if former is not None:
            pid_path = former.pid_path
        env = {**environ, HANDOVER_FD: str(_CHILD_FD), HANDOVER_PIDFILE: pid_path, HANDOVER_MODULES: loaded_modules()}
        child_fds: dict[int, Any] = {0: 0, 1: 1, 2: 2, _CHILD_FD: fd}
        return reactor.spawnProcess(ProcessProtocol(), command[0], command, env=env, childFDs=child_fds)

    return spawn


def loaded_modules() -> str:
    """Return which of our modules this process has: the next one needs them too."""
    return " ".join(sorted(name for name in sys.modules if name.startswith(f"{_PACKAGE}.")))


def load_modules(names: str) -> None:
    """Import modules before their time, so that nobody waits for it; what is there no more is passed over."""
    for name in names.split():
        if name.startswith(f"{_PACKAGE}."):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


@implementer(IReadDescriptor)
class Watch:
    """Tells `readable()` when the other end of a channel says something, or ends."""

    def __init__(self, channel: FdChannel, readable: Callable[[], object]) -> None:
        self.fileno = channel.fileno
        self._readable = readable

    def doRead(self) -> None:
        """There is something to read."""
        self._readable()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""

    def logPrefix(self) -> str:
        """Return what the reactor calls us."""
        return "hand-over"


class Handover(Service):
    """Starts the next process at SIGUSR2, and gives it everything when it is ready.  Reactor thread.

    `daemon` gives `passable_at(latest)` (when it may stop, at `latest` if it would be later), `drain(most_s)` (fires
    when connections that cannot be passed on have ended), `pass_on()` (sockets; nothing is read after it), `leave()`,
    `service`, and `remains()` (what waits in memory when the service has stopped).  `passed(all_is_well)` is called
    when all is gone; whoever gave it ends the process.  A next process that dies before it has everything is followed
    by another, three times at most.
    """

    name = "hand-over"
    _log = Logger()

    def __init__(
        self, reactor: Any, daemon: Any, spawn: Callable[[int], Any], passed: Callable[[bool], object]
    ) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._spawn = spawn
        self._passed = passed
        self._channel: FdChannel | None = None
        self._watch: Watch | None = None
        self._late: IDelayedCall | None = None
        self._waiting: IDelayedCall | None = None
        self._old_handler: Any = None
        self._things: list[Passed] | None = None
        self._tries = 0
        self._ended: Deferred[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether the daemon has stopped, or is stopping, for a next process."""
        return self._ended is not None

    def startService(self) -> None:
        """Listen to SIGUSR2."""
        super().startService()
        self._old_handler = signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self.begin))

    def stopService(self) -> Deferred[None]:
        """Begin nothing any more; a next process that waits ends.  What is under way is waited for."""
        super().stopService()
        if self._old_handler is not None:
            signal.signal(signal.SIGUSR2, self._old_handler)
            self._old_handler = None
        if self._ended is None:
            self._give_up()
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.addBoth(lambda _: ended.callback(None))
        return ended

    def leave(self) -> Deferred[None] | None:
        """Begin nothing any more; return what fires at the end of a hand-over that is under way, None without one."""
        ended = self.stopService()
        return ended if self.under_way else None

    def begin(self) -> None:
        """Start the next process, unless one is starting."""
        if self._channel is not None:
            self._log.warn("a new process is starting already")
            return
        self._start_next()

    def _start_next(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = FdChannel(ours)
        try:
            self._spawn(theirs.fileno())
        except OSError as error:
            self._log.error("a new process cannot be started: {error}", error=error)
            self._failed(error)
            return
        finally:
            theirs.close()
        self._watch = Watch(self._channel, self._heard)
        self._reactor.addReader(self._watch)
        self._late = self._reactor.callLater(_LOADING_S, self._too_late)
        self._log.info("a new process is starting, to take our place")

    def _heard(self) -> None:
        """The next process is ready, or it ended."""
        if self._channel is None:
            return
        received = self._channel.receive()
        if received is None or received[0] != READY:
            if self._things is None:
                self._log.error("the new process did not start, so we go on")
            self._failed("it did not start")
            return
        self._unwatch()
        if self._things is not None:
            self._send(self._channel, self._things)
            return
        now = self._reactor.seconds()
        at = self._daemon.passable_at(now + _WAITING_S)
        if at - now > _NOTED_S:
            self._log.info("the new process is ready, and waits {seconds:.1f} s until intervals end", seconds=at - now)
        if at > now + DRAIN_S:
            self._waiting = self._reactor.callLater(at - now - DRAIN_S, self._drain, self._channel, at)
        else:
            self._drain(self._channel, at)

    def _drain(self, channel: FdChannel, at: float) -> None:
        """Begin to stop the daemon; there is no way back.  What cannot be passed on has time until `at`."""
        self._waiting = None
        self._ended = Deferred()
        left_s = at - self._reactor.seconds()
        drained: Deferred[None] = self._daemon.drain(left_s if left_s > 0 else DRAIN_S)
        drained.addBoth(lambda _: self._pass_on_at(channel, at))

    def _pass_on_at(self, channel: FdChannel, at: float) -> None:
        left_s = at - self._reactor.seconds()
        if left_s > 0:
            self._reactor.callLater(left_s, self._pass_on, channel)
        else:
            self._pass_on(channel)

    def _pass_on(self, channel: FdChannel) -> None:
        """Stop the daemon."""
        passed: list[Passed] = self._daemon.pass_on()
        self._daemon.leave()
        stopped = self._daemon.service.stopService()
        stopped.addBoth(lambda _: self._send(channel, passed + self._daemon.remains()))

    def _send(self, channel: FdChannel, things: list[Passed]) -> None:
        self._things = things
        try:
            send_all(channel, things)
        except OSError as error:
            self._failed(error)
        else:
            self._log.info("passed {count} sockets and chunks to the new process", count=len(things))
            self._finish(True)

    def _failed(self, why: object) -> None:
        """Go on where nothing was given away yet; else let another process have it."""
        self._give_up()
        things = self._things
        if things is None:
            return
        self._tries += 1
        if self._tries < _MOST_TRIES:
            self._log.critical("the new process is gone, so another one is started: {why}", why=why)
            self._start_next()
            return
        self._log.critical("no new process stays: {count} things are lost: {why}", count=len(things), why=why)
        close_all(things)
        self._finish(False)

    def _finish(self, all_is_well: bool) -> None:
        self._passed(all_is_well)
        ended, self._ended = self._ended, Deferred()
        if ended is not None:
            ended.callback(None)
        self._ended.callback(None)

    def _too_late(self) -> None:
        if self._things is None:
            self._log.error("the new process is not ready after {seconds} s, so we go on", seconds=_LOADING_S)
        self._failed("it is not ready in time")

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._reactor.removeReader(self._watch)
            self._watch = None
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._late = None

    def _give_up(self) -> None:
        self._unwatch()
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._channel is not None:
            if self._things is None:
                with contextlib.suppress(OSError):
                    self._channel.send(NOT_WANTED)  # who is loading yet would else start as if we had died
            self._channel.close()
            self._channel = None


class Predecessor:
    """The process whose place we take: blocks until it has passed everything on.

    `inherited` is empty when it died instead: then we start as if there had been nobody.  Raises NotWanted.
    """

    _log = Logger()

    def __init__(self, channel: FdChannel, pid_path: str) -> None:
        self._channel = channel
        self.pid_path = pid_path
        self._watch: Watch | None = None
        with contextlib.suppress(OSError):
            channel.send(READY)  # where it has gone, it may have left word
        self.inherited = Inheritance(receive_all(channel) or ())

    def watch(self, reactor: Any, then: Callable[[], object] = lambda: None) -> None:
        """Write twistd's pid file when the former process, which removes it, has gone, as we will; call `then()`."""

        def gone() -> None:
            reactor.removeReader(self._watch)
            self._channel.close()
            if self.pid_path:
                ours = PidFile(self.pid_path)
                ours.write()
                reactor.addSystemEventTrigger("after", "shutdown", ours.remove)
            then()

        tell_systemd(os.environ, f"MAINPID={os.getpid()}\nREADY=1")
        self._watch = Watch(self._channel, gone)
        reactor.addReader(self._watch)


def predecessor(
    environ: MutableMapping[str, str], prepare: Callable[[], object] = lambda: None
) -> Predecessor | None:
    """Return the process that started us to take its place, None if nobody did.

    `prepare()` is called before that process stops: what takes time is done there, as is importing what that process
    has imported.  Ends us (SystemExit) where it was told to end meanwhile.
    """
    told = (HANDOVER_FD, HANDOVER_PIDFILE, HANDOVER_MODULES)
    fd, pid_path, modules = (environ.pop(name, "") for name in told)
    if not fd.isdigit():
        return None
    load_modules(modules)
    prepare()
    try:
        return Predecessor(FdChannel(socket.socket(fileno=int(fd))), pid_path)
    except NotWanted:
        raise SystemExit(0) from None


def tell_systemd(environ: MutableMapping[str, str], text: str) -> None:
    """Tell the service manager, where one wants to hear (sd_notify(3)): without this it takes our end for a failure."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, contextlib.suppress(OSError):
            manager.sendto(text.encode(), "\0" + path[1:] if path.startswith("@") else path)
