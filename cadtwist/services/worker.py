"""One of several processes that receive side by side, started by `services.supervisor`.

`python -m cadtwist.services.worker` finds at descriptor 3 the channel by which connections and datagram sockets come,
at descriptor 4 the link to the supervisor, who sends the configuration first.  It ends when the supervisor does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from cadtwist.config.model import Config
from cadtwist.errors import CadtwistError
from cadtwist.net.handover import READY, FdChannel, Inheritance, Passed, close_all, receive_one, send_all
from cadtwist.services.balance import Loudest
from cadtwist.services.build import Daemon
from cadtwist.services.descriptors import raise_file_limit
from cadtwist.services.doors import SHARED
from cadtwist.services.footprint import give_back_files, settle_allocator
from cadtwist.services.handover import Watch, load_modules
from cadtwist.services.orphans import worker_folder
from cadtwist.services.slots import one_protocol
from cadtwist.services.workerlink import WorkerLink

__all__ = ["CHANNEL_FD", "LINK_FD", "TELL", "Worker", "main", "worker_config"]

CHANNEL_FD, LINK_FD = 3, 4
TELL = "tell"
"""The argument of a worker that says over the channel when it has loaded its code."""
_NEEDED = "cadtwist.services.ops cadtwist.services.relaygraph"
"""What every worker imports when it begins; one that waits for that has it before."""
_MOST_TAKEN = 256


def worker_config(config: Config, number: int) -> Config:
    """Return the configuration of worker `number` (from 0): what all share is the supervisor's."""
    return replace(
        config,
        instance=f"{config.instance}-{number}",
        listeners=tuple(door for door in config.listeners if door.protocol not in SHARED),
        limits=replace(config.limits, max_connections=float("inf")),
        log=replace(config.log, directory=""),
        spool=replace(config.spool, directory=worker_folder(config.spool.directory, number)),
    )


class Worker:
    """Runs a Daemon as the supervisor asks.  Reactor thread; `methods` are what the supervisor may call."""

    _log = Logger()

    def __init__(self, reactor: Any, channel: FdChannel) -> None:
        self._reactor = reactor
        self._channel = channel
        self._watch = Watch(channel, self._take)
        self.daemon: Daemon | None = None
        self._loudest = Loudest({})
        self._given = 0
        self.methods = {
            "begin": self.begin,
            "report": self.report,
            "ops": self.ops,
            "reload": self.reload,
            "drain": self.drain,
            "loads": self.loads,
            "let_go": self.let_go,
            "pass_on": self.pass_on,
            "stop": self.stop,
            "leave": self.leave,
        }
        self.link = WorkerLink(self.methods)
        channel.blocking = False

    def begin(self, value: Any) -> None:
        """Build the daemon over the sockets that came before, and start it.

        `value` has `config`, a Config as plain values, `orphans`, folders of spools to take over, and `chunks`, Passed
        that a former process had in memory.
        """
        config = msgspec.convert(value["config"], Config)
        things = list(self._received())
        sockets = [thing for thing in things if thing.kind != "connection"]
        sockets += [msgspec.convert(chunk, Passed) for chunk in value["chunks"]]
        daemon = Daemon(self._reactor, config, Inheritance(sockets), True, value["orphans"])
        daemon.on_fault = self._fault
        daemon.doors.limit.changed = self._tell_open
        daemon.service.startService()
        self.daemon = daemon
        self._loudest = Loudest(daemon.doors.plain)
        for thing in things:
            if thing.kind == "connection":
                daemon.doors.take_up(thing)
        self._reactor.addReader(self._watch)
        give_back_files()

    def report(self, topic: Any) -> Any:
        """Return "status", "ledger" or "waits" as plain values."""
        if self.daemon is None:
            return None
        return self.daemon.reports[str(topic)]()

    def ops(self, value: Any) -> Any:
        """Return what our part of the pages for operators answers to (method, arguments)."""
        if self.daemon is None or self.daemon.ops is None:
            return None
        method, arguments = value
        if method not in ("stats", "hashcheck", "servers_up", "debug", "nodes"):
            raise CadtwistError(f"no method {method}")
        return getattr(self.daemon.ops, method)(*arguments)

    def reload(self, value: Any) -> None:
        """Run on with another Config (as plain values), which differs only in what can be taken."""
        if self.daemon is not None:
            self.daemon.change(msgspec.convert(value, Config))

    def loads(self, _: Any) -> Any:
        """Return what our connections have said since the last time: `Load`."""
        return list(self._loudest.look())

    def let_go(self, numbers: Any) -> list[int]:
        """Send connections, by their places in what `loads` told, over the channel; return which."""
        found = self._loudest.let_go(numbers)
        self._channel.blocking = True
        try:
            for _, passed in found:
                self._channel.send(msgspec.msgpack.encode(passed), [passed.fd])
        finally:
            self._channel.blocking = False
            close_all(passed for _, passed in found)
        return [number for number, _ in found]

    def drain(self, most_s: Any) -> Any:
        """Let connections end that cannot be passed on, those among them that were given to us before; then answer."""
        if self.daemon is None:
            return None
        self._take()
        return self.daemon.drain(float(most_s))

    def pass_on(self, _: Any) -> Any:
        """Stop, and give everything back over the channel; answered when all of it is there."""
        if self.daemon is None:
            return None
        daemon = self.daemon
        self._take_last(daemon)
        passed = [thing for thing in daemon.pass_on() if thing.kind == "connection"]
        daemon.leave()

        def send(_: object) -> None:
            self._channel.blocking = True
            send_all(self._channel, passed + daemon.remains())

        return daemon.service.stopService().addBoth(send)

    def stop(self, _: Any = None) -> Deferred[Any]:
        """Stop in order; answered when everything is written."""
        daemon, self.daemon = self.daemon, None
        if daemon is None:
            return succeed(None)
        self._take_last(daemon)
        stopped: Deferred[Any] = daemon.service.stopService()
        return stopped.addBoth(lambda _: None)

    def leave(self, _: Any) -> None:
        """Stop without waiting for what is slow."""
        if self.daemon is not None:
            self.daemon.leave()

    def _fault(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 (the supervisor logs it)
        self._reactor.callWhenRunning(self._reactor.stop)

    def _tell_open(self, connections: int) -> None:
        self.link.tell("open", [connections, self._given])

    def _received(self) -> Any:
        """Yield what has come over the channel."""
        for _ in range(_MOST_TAKEN):
            try:
                thing = receive_one(self._channel)
            except BlockingIOError:
                return
            except OSError:
                self._reactor.removeReader(self._watch)  # its other end is closed: it would be readable for ever
                return
            if thing is not None:
                self._given += thing.kind == "connection"
                yield thing

    def _take(self) -> None:
        for thing in self._received():
            if self.daemon is not None:
                self.daemon.doors.take_up(thing)

    def _take_last(self, daemon: Daemon) -> None:
        """Take the connections that were given to us before we were told to stop, and no more."""
        self._reactor.removeReader(self._watch)
        while things := list(self._received()):
            for thing in things:
                daemon.doors.take_up(thing)


def main(reactor: Any, arguments: Sequence[str] = ()) -> None:
    """Be a worker until the supervisor goes."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    settle_allocator()
    raise_file_limit()
    channel = FdChannel(socket.socket(fileno=CHANNEL_FD))
    if TELL in arguments:
        load_modules(_NEEDED)
        channel.send(READY)
    worker = Worker(reactor, channel)
    reactor.adoptStreamConnection(LINK_FD, socket.AF_UNIX, one_protocol(worker.link))
    os.close(LINK_FD)
    ended = worker.link.gone
    ended.addCallback(lambda _: worker.stop())
    ended.addBoth(lambda _: reactor.callLater(0, reactor.stop))
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    from twisted.internet import reactor as default_reactor

    main(default_reactor, sys.argv[1:])
