"""The composition of statsite: its configuration becomes listeners, a window, and a stream command for each flush."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.codec.statsd import StatsdColumns, StatsiteCodec
from cadtwist.config.statsdmodel import StatsiteConfig
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.listeners import TCPListener, UDPListener
from cadtwist.protocols.factory import Connection, ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.statsite import RecordConnection
from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from cadtwist.services.sequence import Step
from cadtwist.services.windowdaemon import WINDOW_BYTES, WindowDaemon
from cadtwist.services.windowkeeper import NOTHING, Hands, Keep, through_log
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdstream import StreamTeller
from cadtwist.stages.statsdsums import Statsite, exact_values
from cadtwist.telemetry import Account

__all__ = ["StatsiteDaemon", "StreamCommand"]

MOST_COMMANDS = 16
PATIENCE_S = 10.0
_STDIN = "statsite stdin"


class _CommandInput(ProcessProtocol):
    """Writes one flush to a command and waits for its end."""

    def __init__(self, pieces: list[bytes], ended: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._ended = ended

    def connectionMade(self) -> None:
        """Write everything; the transport buffers what the command does not take at once."""
        transport: Any = self.transport
        transport.writeSequence(self._pieces)
        transport.closeStdin()
        self._pieces = []

    def outReceived(self, data: bytes) -> None:
        """What the command prints goes where ours does."""
        os.write(1, data)

    def errReceived(self, data: bytes) -> None:
        """What the command complains of goes where ours does."""
        os.write(2, data)

    def processEnded(self, reason: Failure) -> None:
        """The command has ended."""
        status = 0 if reason.check(error.ProcessDone) else getattr(reason.value, "exitCode", None)
        self._ended(1 if status is None else status)


class StreamCommand:
    """Runs a shell command for each flush, with the flush on its standard input.  Reactor thread.

    At most `most` run at once: a flush beyond that is dropped (`commands_busy`).  Exit statuses are logged and counted.
    """

    _log = Logger()

    def __init__(self, reactor: Any, command: str, account: Account, most: int = MOST_COMMANDS) -> None:
        self._reactor = reactor
        self._command = command
        self._account = account
        self._most = most
        self._pieces: list[bytes] = []
        self.begun = 0
        self._running: set[int] = set()
        self._idle: Deferred[None] | None = None

    @property
    def ended(self) -> int:
        """How many commands have ended with all before them."""
        return min(self._running, default=self.begun)

    def write(self, data: bytes) -> None:
        """Keep a piece of the flush that is under way."""
        self._pieces.append(data)

    def flushed(self) -> None:
        """Start the command with what was written, even if that is nothing: it hears of each flush."""
        pieces, self._pieces = self._pieces, []
        if len(self._running) >= self._most:
            self._account.count("commands_busy")
            self._log.warn("a flush is lost: {most} stream commands are still running", most=self._most)
            return
        number, self.begun = self.begun, self.begun + 1
        self._running.add(number)
        self._account.count("commands")
        shell = "/bin/sh"
        self._reactor.spawnProcess(
            _CommandInput(pieces, partial(self._ended, number)),
            shell,
            [shell, "-c", self._command],
            env=dict(os.environ),
        )

    def wait(self) -> Deferred[None]:
        """Return what fires when no command runs any more."""
        if not self._running:
            return succeed(None)
        if self._idle is None:
            self._idle = Deferred()
            self._idle.addTimeout(PATIENCE_S, self._reactor, onTimeoutCancel=lambda *_: None)
        return self._idle

    def _ended(self, number: int, status: int) -> None:
        self._running.discard(number)
        if status:
            self._account.count("commands_failed")
            self._log.warn("the stream command ended with status {status}", status=status)
        if not self._running and self._idle is not None:
            idle, self._idle = self._idle, None
            if not idle.called:
                idle.callback(None)


class StatsiteDaemon(WindowDaemon):
    """All parts of a running statsite and the service that starts and stops them.  Reactor thread.

    `keep`: what is kept on the disk.  `inherited`: what a former process passed.
    """

    def __init__(
        self,
        reactor: Any,
        config: StatsiteConfig,
        clock: Callable[[], float] = time.perf_counter,
        keep: Keep = NOTHING,
        inherited: Inheritance | None = None,
    ) -> None:
        super().__init__(reactor, "statsite", keep, inherited)
        self.config = config
        self._stdin: tuple[StandardIO, Connection] | None = None
        account = self.telemetry.account("statsite")
        self.command = StreamCommand(reactor, config.stream_command, account)
        teller = StreamTeller(
            self.space.table, config.naming, self.command.write, config.binary_stream, config.prefix_binary_stream,
            config.style, self.command.flushed,
        )  # fmt: skip
        start = reactor.seconds()
        window = StatsdWindow(
            self.space.table, Statsite(teller.style, start, lambda: account.received), teller, account, clock, start,
            kept=exact_values(config.timer_error), precision=config.precision, max_bytes=WINDOW_BYTES,
        )  # fmt: skip
        streams = config.tcp_port or config.parse_stdin
        logged = [keep.logs(how) for how, wanted in (("tcp", streams), ("udp", config.udp_port)) if wanted]
        self._begin(window, Hands(lambda: self.command.begun, lambda: self.command.ended), logged)
        self.service = self._sequence([Step("stream commands", None, self.command.wait)], self._listening())

    def _listening(self) -> list[IService]:
        config, parts = self.config, list[IService]()
        if config.udp_port:
            intake = self._intake("statsite udp", DatagramIntake, "udp")
            datagrams = UDPListener(
                "statsite udp", lambda bound: DatagramReader(self.reactor, bound, intake), config.bind_address,
                config.udp_port, receive_bytes=config.udp_receive_bytes,
            )  # fmt: skip
            parts.append(self.doors.joined(datagrams))
        if config.tcp_port:
            name, where = "statsite tcp", (config.bind_address, config.tcp_port)
            factory = self._streams(name)
            on_open = self.doors.opened(name, factory)
            parts.append(self.doors.joined(TCPListener(name, self.reactor, factory, *where, on_open=on_open)))
        if config.parse_stdin:
            lines = self._streams("statsite stdin")
            parts.append(Step("stdin", lambda: self._read_stdin(lines)))
        return parts

    def _streams(self, name: str) -> ReceiverFactory:
        intake = self._intake(name, Intake, "tcp")
        return ReceiverFactory(intake, RecordConnection, clock=self.reactor, limit=ConnectionLimit())

    def _intake(self, name: str, kind: type[Intake], transport: str) -> Any:
        table = self.space.table
        sink = through_log(self.keeper, self.keep, transport, self.window)
        return self.intakes.make(kind, name, lambda emit: StatsiteCodec(table, StatsdColumns(), emit), sink)

    def _read_stdin(self, lines: ReceiverFactory) -> None:
        connection = lines.buildProtocol(None)
        if connection is not None:
            self._stdin = StandardIO(connection, reactor=self.reactor), connection
            for passed in self._inherited.take("chunk", _STDIN):
                connection.take_up(passed.data, passed.skipping)

    # when another process takes its place

    def _unread(self) -> list[Passed]:
        if self._stdin is not None:
            transport, connection = self._stdin
            transport.pauseProducing()
            unread, skipping = connection.state.unread()
            return [Passed(kind="chunk", key=_STDIN, data=unread, skipping=skipping)]
        return []
