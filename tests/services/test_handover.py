"""The hand-over with a next process that is a test."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.handover import NOT_WANTED, READY, FdChannel, NotWanted, Passed, receive_all
from cadtwist.services.handover import (
    HANDOVER_FD,
    HANDOVER_PIDFILE,
    Handover,
    command_line,
    load_modules,
    predecessor,
    spawner,
    tell_systemd,
)
from cadtwist.services.pidfile import PidFile
from tests.services.watched import WatchedReactor


class Reactor(WatchedReactor):
    """Remembers what is to be done at the end, and which processes were started."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: list[tuple[str, str, Any]] = []
        self.spawned: list[tuple[list[str], dict[str, str]]] = []

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> None:
        self.triggers.append((phase, event, call))

    def spawnProcess(self, _: Any, __: str, command: list[str], env: dict[str, str], **___: Any) -> None:
        self.spawned.append((command, env))


class Daemon:
    """Tells what happens to it."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.service = self
        self.drained: Deferred[None] = succeed(None)
        self.stopped: Deferred[None] = Deferred()
        self.interval_s = 0.0
        self.drained_for_s = 0.0

    def passable_at(self, latest: float) -> float:
        return min(self.interval_s, latest)

    def drain(self, most_s: float) -> Deferred[None]:
        self.events.append("drains")
        self.drained_for_s = most_s
        return self.drained

    def pass_on(self) -> list[Passed]:
        self.events.append("passes on")
        return [Passed(kind="chunk", key="first", data=b"1", points=1)]

    def leave(self) -> None:
        self.events.append("leaves")

    def stopService(self) -> Deferred[None]:
        self.events.append("stops")
        return self.stopped

    def remains(self) -> list[Passed]:
        self.events.append("remains")
        return [Passed(kind="chunk", key="last", data=b"22", points=2)]


class HandoverTests(SynchronousTestCase):
    """From the signal to the end."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.events: list[str] = []
        self.daemon = Daemon(self.events)
        self.handover = Handover(self.reactor, self.daemon, self.spawn, self.passed)
        self.next: FdChannel | None = None
        self.addCleanup(self.handover.stopService)

    def passed(self, all_is_well: bool) -> None:
        self.events.append("passed" if all_is_well else "lost")

    def spawn(self, fd: int) -> None:
        self.events.append("spawns")
        self.next = FdChannel(socket.socket(fileno=os.dup(fd)))
        self.addCleanup(self.next.close)

    def channel(self) -> FdChannel:
        assert self.next is not None
        return self.next

    def test_everything_is_passed_once_all_is_closed(self) -> None:
        self.handover.begin()
        self.handover.begin()
        self.assertEqual(self.events, ["spawns"])
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        self.assertEqual(self.events[1:], ["drains", "passes on", "leaves", "stops"])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
        self.daemon.stopped.callback(None)
        self.assertEqual(self.events[5:], ["remains", "passed"])
        found = receive_all(self.channel())
        assert found is not None
        self.assertEqual(
            [(thing.key, thing.data, thing.points) for thing in found], [("first", b"1", 1), ("last", b"22", 2)]
        )

    def test_a_next_process_that_ends_changes_nothing(self) -> None:
        self.handover.begin()
        self.channel().close()
        self.reactor.readers[0].doRead()
        self.assertEqual(self.events, ["spawns"])
        self.handover.begin()
        self.assertEqual(self.events, ["spawns", "spawns"], "another try")

    def test_a_next_process_that_is_slow_is_given_up(self) -> None:
        self.handover.begin()
        self.reactor.advance(121)
        self.assertEqual(self.reactor.readers, [])
        self.assertRaises(NotWanted, receive_all, self.channel())

    def test_one_that_cannot_be_started(self) -> None:
        def refuse(_: int) -> None:
            raise OSError("no more processes")

        handover = Handover(self.reactor, self.daemon, refuse, lambda _: None)
        handover.begin()
        self.assertEqual((self.reactor.readers, self.events), ([], []))

    def dies(self) -> None:
        """Let a next process say that it is ready, and die."""
        self.channel().send(READY)
        self.channel().close()
        self.reactor.readers[0].doRead()

    def test_a_next_process_that_dies_at_the_last_moment_is_followed_by_another(self) -> None:
        self.daemon.stopped = succeed(None)
        self.handover.begin()
        self.dies()
        self.assertEqual(self.events, ["spawns", "drains", "passes on", "leaves", "stops", "remains", "spawns"])
        self.channel().close()
        self.reactor.readers[0].doRead()
        self.assertEqual(self.events[6:], ["spawns", "spawns"])
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        self.assertEqual(self.events[6:], ["spawns", "spawns", "passed"])
        self.assertEqual([thing.key for thing in receive_all(self.channel()) or ()], ["first", "last"])

    def test_three_that_die_are_enough(self) -> None:
        """What they were to get is lost; that is said, and this process ends all the same."""
        self.daemon.stopped = succeed(None)
        self.handover.begin()
        self.dies()
        self.dies()
        self.dies()
        self.assertEqual(self.events[-1], "lost")
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_a_stop_waits_for_what_is_under_way(self) -> None:
        """And takes nothing from the next process."""
        self.handover.begin()
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        stopped = self.handover.stopService()
        self.assertTrue(self.handover.under_way)
        self.assertNoResult(stopped)
        self.daemon.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], "passed")
        self.assertEqual(len(receive_all(self.channel()) or ()), 2)

    def test_it_waits_for_the_end_of_an_interval(self) -> None:
        self.daemon.interval_s = 10.0
        self.handover.begin()
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        self.reactor.advance(7.5)
        self.assertEqual(self.events, ["spawns"])
        self.reactor.advance(0.5)
        self.assertEqual((self.events, self.daemon.drained_for_s), (["spawns", "drains"], 2.0))
        self.handover.begin()
        self.reactor.advance(1.5)
        self.assertEqual(self.events, ["spawns", "drains"])
        self.reactor.advance(0.5)
        self.assertEqual(self.events, ["spawns", "drains", "passes on", "leaves", "stops"])

    def test_connections_that_cannot_be_passed_on_have_time_to_end(self) -> None:
        """No more than is left of the interval, where it ends soon."""
        for interval_s, most_s in ((0.0, 2.0), (0.5, 0.5)):
            self.events.clear()
            self.daemon.interval_s, self.daemon.drained = interval_s, Deferred()
            handover = Handover(self.reactor, self.daemon, self.spawn, self.passed)
            handover.begin()
            self.channel().send(READY)
            self.reactor.readers[-1].doRead()
            self.assertEqual((self.events, self.daemon.drained_for_s), (["spawns", "drains"], most_s))
            stopped = handover.stopService()
            self.daemon.drained.callback(None)
            self.assertEqual(self.events[2:], [] if interval_s else ["passes on", "leaves", "stops"])
            self.reactor.advance(0.5 if interval_s else 0.0)
            self.assertEqual(self.events[2:], ["passes on", "leaves", "stops"])
            self.daemon.stopped.callback(None)
            self.successResultOf(stopped)
            self.daemon.stopped = Deferred()

    def test_but_no_longer_than_a_minute(self) -> None:
        self.daemon.interval_s = 3600.0
        self.handover.begin()
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        self.reactor.advance(60.0)
        self.assertEqual(self.events, ["spawns", "drains", "passes on", "leaves", "stops"])

    def test_a_stop_while_it_waits_lets_nobody_take_its_place(self) -> None:
        self.daemon.interval_s = 10.0
        self.handover.begin()
        self.channel().send(READY)
        self.reactor.readers[0].doRead()
        self.successResultOf(self.handover.stopService())
        self.assertFalse(self.handover.under_way)
        self.assertEqual((self.events, self.reactor.getDelayedCalls()), (["spawns"], []))
        self.assertRaises(NotWanted, receive_all, self.channel())

    def test_a_stop_while_the_next_one_loads_lets_nobody_take_its_place(self) -> None:
        self.handover.begin()
        self.successResultOf(self.handover.stopService())
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
        self.assertRaises(NotWanted, receive_all, self.channel())

    def test_the_signal(self) -> None:
        before = signal.getsignal(signal.SIGUSR2)
        self.handover.startService()
        self.assertNotEqual(signal.getsignal(signal.SIGUSR2), before)
        self.handover.stopService()
        self.assertEqual(signal.getsignal(signal.SIGUSR2), before)


class PredecessorTests(SynchronousTestCase):
    """The other side."""

    def test_what_the_former_process_has_imported_is_imported_before(self) -> None:
        """What is there no more, and what is none of ours, is passed over."""
        known = sys.modules.pop("cadtwist.codec.proxyadmin", None)
        if known is not None:
            self.addCleanup(sys.modules.__setitem__, "cadtwist.codec.proxyadmin", known)
        load_modules("cadtwist.codec.proxyadmin cadtwist.codec.of_an_old_version antigravity")
        self.assertIn("cadtwist.codec.proxyadmin", sys.modules)
        self.assertNotIn("antigravity", sys.modules)

    def test_nobody(self) -> None:
        self.assertIsNone(predecessor({}))
        self.assertIsNone(predecessor({HANDOVER_FD: "nonsense"}))

    def test_one_that_died_leaves_nothing(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.shutdown(socket.SHUT_WR)
        environ = {HANDOVER_FD: str(theirs.detach())}
        former = predecessor(environ)
        assert former is not None
        self.assertEqual((former.inherited.close(), environ, ours.recv(10)), ([], {}, b"." + READY))
        reactor = Reactor()
        former.watch(reactor)
        ours.close()
        reactor.readers[0].doRead()
        self.assertEqual(reactor.readers, [])

    def test_the_pid_file_goes_from_hand_to_hand(self) -> None:
        """Also to a third process: the second one's command line does not name the file."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.shutdown(socket.SHUT_WR)
        path, reactor = self.mktemp(), Reactor()
        former = predecessor({HANDOVER_FD: str(theirs.detach()), HANDOVER_PIDFILE: path})
        assert former is not None
        former.watch(reactor)
        ours.close()
        reactor.readers[0].doRead()
        with open(path, encoding="ascii") as file:
            self.assertEqual(int(file.read()), os.getpid())
        spawner(reactor, ["--pidfile=", "relay"], {}, former)(7)
        ((_, environ),) = reactor.spawned
        self.assertEqual(environ[HANDOVER_PIDFILE], path)
        ((phase, event, remove),) = reactor.triggers
        remove()
        self.assertEqual((phase, event, os.path.exists(path)), ("after", "shutdown", False))

    def test_one_that_is_not_wanted_ends(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(ours.close)
        FdChannel(ours).send(NOT_WANTED)
        ended = self.assertRaises(SystemExit, predecessor, {HANDOVER_FD: str(theirs.detach())})
        self.assertEqual(ended.code, 0)

    def test_one_that_has_gone_before_we_were_ready(self) -> None:
        """By a stop, which leaves word; or in a crash: then we are needed."""
        for word in (NOT_WANTED, None):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if word is not None:
                FdChannel(ours).send(word)
            ours.close()
            environ = {HANDOVER_FD: str(theirs.detach())}
            if word is not None:
                self.assertEqual(self.assertRaises(SystemExit, predecessor, environ).code, 0)
                continue
            former = predecessor(environ)
            assert former is not None
            self.assertEqual(former.inherited.close(), [])
            reactor = Reactor()
            former.watch(reactor)
            reactor.readers[0].doRead()

    def test_the_command_line_without_the_pid_file(self) -> None:
        for arguments in (
            ["-n", "--pidfile=/x/y.pid", "relay", "--config=c"],
            ["-n", "--pidfile", "/x/y.pid", "relay", "--config=c"],
        ):
            command, path = command_line(arguments)
            self.assertEqual(
                (command[0], command[3:], path),
                (sys.executable, ["--pidfile=", "-n", "relay", "--config=c"], "/x/y.pid"),
            )
        self.assertEqual(command_line(["--pidfile=", "cache"])[1], "")
        self.assertEqual(command_line(["cache"])[1], os.path.abspath("twistd.pid"))


class PidFileTests(SynchronousTestCase):
    """Who serves now."""

    def test_it_is_written_and_removed(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("1234567890123\n")
        PidFile(path).write()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        PidFile(path).remove()
        self.assertFalse(os.path.exists(path))

    def test_another_ones_is_left_alone(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("1\n")
        PidFile(path).remove()
        self.assertTrue(os.path.exists(path))

    def test_a_path_that_cannot_be_written_stops_nothing(self) -> None:
        PidFile(os.path.join(self.mktemp(), "x.pid")).write()
        PidFile(os.devnull).write()
        self.assertTrue(stat.S_ISCHR(os.stat(os.devnull).st_mode))

    def test_who_looks_at_it_never_sees_a_part(self) -> None:
        """A file that is open keeps what it had: the new one takes its place."""
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("1234567890123\n")
        with open(path, encoding="ascii") as before:
            PidFile(path).write()
            self.assertEqual(before.read(), "1234567890123\n")
        self.assertEqual(os.listdir(os.path.dirname(path)), [os.path.basename(path)])

    def test_a_link_is_followed(self) -> None:
        path, link = self.mktemp(), self.mktemp()
        os.symlink(os.path.abspath(path), link)
        for _ in range(2):
            PidFile(link).write()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), f"{os.getpid()}\n")
        self.assertTrue(os.path.islink(link))

    def test_one_that_is_locked_is_left_alone(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            PidFile(path).write()
        self.assertEqual(os.path.getsize(path), 0)

    def test_systemd_hears_who_serves(self) -> None:
        path = os.path.relpath(self.mktemp())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            tell_systemd({"NOTIFY_SOCKET": path}, "MAINPID=7")
            self.assertEqual(manager.recv(100), b"MAINPID=7")
        tell_systemd({}, "nobody hears")
