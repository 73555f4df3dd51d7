"""What every receiver of datapoints over a stream has in common: limits, pauses, idle time, counting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from cadtwist.protocols.intake import Intake

__all__ = ["READ_BYTES", "Connection", "ConnectionLimit", "ReceiverFactory", "address_text"]

READ_BYTES = 1 << 18
"""Bytes asked of a socket at a time: fewer, longer reads cost a third less than Twisted's own 64 KiB."""


def address_text(address: object) -> str:
    """Return a peer's address as people write it, without its port; `unix` for one that has none."""
    return address.host if isinstance(address, (IPv4Address, IPv6Address)) else "unix"


def _nothing(_: int) -> None:
    """Nobody wants to hear."""


class ConnectionLimit:
    """Bounds the connections of several listeners together.

    At the limit the listening ports stop accepting (connections wait in the kernel's queue); a connection that slips
    in is closed.  `changed(open)` hears of each begin and end.  Reactor thread.
    """

    log = Logger()

    def __init__(self, most: float = math.inf) -> None:
        self.open = 0
        self.changed: Callable[[int], object] = _nothing
        self._most = most
        self._ports: list[Any] = []
        self._paused = False

    @property
    def most(self) -> float:
        """The bound; a new one counts at once, but closes nobody."""
        return self._most

    @most.setter
    def most(self, most: float) -> None:
        self._most = most
        self._settle()

    @property
    def admits(self) -> bool:
        """Whether one more connection is allowed."""
        return self.open < self.most

    def add_port(self, port: Any) -> None:
        """Pause and resume a listening port (an IListeningPort that is a file descriptor of the reactor)."""
        self._ports.append(port)
        if self._paused:
            port.stopReading()

    def remove_port(self, port: Any) -> None:
        """Forget a port that closes."""
        if port in self._ports:
            self._ports.remove(port)

    def opened(self) -> None:
        """Count a connection."""
        self.open += 1
        self.changed(self.open)
        self._settle()

    def closed(self) -> None:
        """Count a connection's end."""
        self.open -= 1
        self.changed(self.open)
        self._settle()

    def _settle(self) -> None:
        """Let the ports accept, or not, as the count and the bound are."""
        if self.admits == self._paused:
            self._paused = not self._paused
            self._tell("Pausing" if self._paused else "Resuming", "stopReading" if self._paused else "startReading")

    def _tell(self, what: str, method: str) -> None:
        for port in self._ports:
            self.log.info(
                "{what} {port} ({open}/{most} connections)", what=what, port=port, open=self.open, most=self.most
            )
            getattr(port, method)()


class Connection(Protocol):
    """One client's stream.  Subclasses give `state` (what the codec keeps of it) and `broken`.

    It pauses itself when it delivers into a shut gate, resumes when the gate opens, and closes itself after the idle
    timeout without a good datapoint (time in which it was paused does not count) or when its framing is lost.
    `heard_bytes` grows by what comes; who looks at it may set it back.
    """

    listener: ReceiverFactory
    state: Any

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.heard_bytes = 0
        self._peer = ""
        self._paused = False
        self._useful_at = 0.0
        self._idle_call: IDelayedCall | None = None

    @property
    def broken(self) -> bool:
        """Whether nothing more can be read of this stream."""
        return False

    def connectionMade(self) -> None:
        """Begin, paused if the gate is shut."""
        transport: Any = self.transport
        self.read_at_most(READ_BYTES if self._intake.gate.open else 1)
        self.listener.opened(self, address_text(transport.getPeer()))
        self._useful_at = self.listener.clock.seconds()
        self._watch_idle()
        if not self._intake.gate.open:
            self._pause()

    def dataReceived(self, data: bytes) -> None:
        """Hand the bytes on, then see whether to go on reading."""
        intake = self._intake
        self.heard_bytes += len(data)
        if not self._peer:
            self._peer = self._address()
        if intake.feed(self.state, data, self._peer) and self._idle_call is not None:
            self._useful_at = self.listener.clock.seconds()
        if self.broken:
            transport: Any = self.transport
            transport.loseConnection()
        elif not intake.gate.open:
            self._pause()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End: a line or frame that is not complete is nobody's datapoint."""
        self._intake.wait_no_more(self)
        if self._idle_call is not None:
            self._idle_call.cancel()
            self._idle_call = None
        self.listener.closed(self, self._address(), reason)

    @property
    def wrapped(self) -> bool:
        """Whether something is between us and the socket: TLS, or a proxy's header."""
        return isinstance(self.transport, ProtocolWrapper)

    def unread(self) -> tuple[bytes, bool]:
        """Return the bytes of the item that is not complete, and whether the rest of it is to be thrown away."""
        unread, skipping = self.state.unread()
        return bytes(unread), bool(skipping)

    def say_goodbye(self) -> None:
        """Tell the client that we write no more, so that it closes; what it has sent up to then is read."""
        transport: Any = self.transport
        if ISSLTransport.providedBy(transport):
            transport.loseConnection()
        elif hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()

    def take_up(self, unread: bytes, skipping: bool) -> None:
        """Go on where the client's connection to a former process was: what its `unread()` told."""
        if skipping:
            self.state.skip()
        elif unread:
            self.dataReceived(unread)

    def resume(self) -> None:
        """Read again: the gate is open."""
        if self._paused:
            self._paused = False
            self._useful_at = self.listener.clock.seconds()
            transport: Any = self.transport
            transport.resumeProducing()

    def read_at_most(self, size: int) -> None:
        """Let the next read of the socket, which may be due in this very turn, take no more than so many bytes."""
        transport: Any = self.transport
        if hasattr(transport, "bufferSize"):
            transport.bufferSize = size

    def _address(self) -> str:
        """Return the peer's address; behind a proxy it is known only when the proxy's header was read."""
        transport: Any = self.transport
        return address_text(transport.getPeer())

    def _pause(self) -> None:
        self._intake.wait(self)
        if not self._paused:
            self._paused = True
            transport: Any = self.transport
            transport.pauseProducing()

    def _watch_idle(self) -> None:
        """Close the connection if its time is over, else look again when it may be."""
        timeout_s = self.listener.idle_timeout_s
        self._idle_call = None
        if math.isinf(timeout_s):
            return
        clock = self.listener.clock
        left_s = timeout_s if self._paused else self._useful_at + timeout_s - clock.seconds()
        if left_s > 0:
            self._idle_call = clock.callLater(left_s, self._watch_idle)
            return
        self._intake.account.count("idle_closed")
        transport: Any = self.transport
        transport.abortConnection()


class ReceiverFactory(ServerFactory):
    """Builds the connections of one listener.

    `make_connection` is a `Connection` subclass (or a partial of one).  `log_connections` writes of each begin and
    clean end, `log_lost` of each other end.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        intake: Intake,
        make_connection: Callable[[Intake], Connection],
        *,
        clock: IReactorTime,
        limit: ConnectionLimit,
        idle_timeout_s: float = math.inf,
        log_connections: bool = False,
        log_lost: bool = False,
    ) -> None:
        self.intake = intake
        self.clock = clock
        self.limit = limit
        self.idle_timeout_s = idle_timeout_s
        self.connections: set[Connection] = set()
        self._make_connection = make_connection
        self._log_connections = log_connections
        self._log_lost = log_lost
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._forget_gate: Callable[[], None] | None = None
        intake.account.gauge("connections_open", lambda: len(self.connections))

    def startFactory(self) -> None:
        """Listen to the gate: what is shut by one connection is shut for the others that are read in the same turn."""
        if self._forget_gate is None:
            self._forget_gate = self.intake.gate.listen(self._gate_moved)

    def stopFactory(self) -> None:
        """Listen no longer."""
        if self._forget_gate is not None:
            self._forget_gate()
            self._forget_gate = None
            self._gate_moved(True)

    def _gate_moved(self, is_open: bool) -> None:
        for connection in self.connections:
            connection.read_at_most(READ_BYTES if is_open else 1)

    def buildProtocol(self, addr: IAddress | None) -> Connection | None:  # noqa: ARG002
        """Return the protocol of a new connection, None where there are too many."""
        if not self.limit.admits:
            self.intake.account.count("connections_refused")
            return None
        connection = self._make_connection(self.intake)
        connection.listener = self
        return connection

    def change(self, idle_timeout_s: float, log: Any) -> None:
        """Take a reloaded idle timeout (for connections to come) and the log switches of a configuration."""
        self.idle_timeout_s = idle_timeout_s
        self._log_connections = log.connections
        self._log_lost = log.lost_connections

    def opened(self, connection: Connection, peer: str) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self.intake.account.count("connections")
        self.limit.opened()
        if self._log_connections:
            self.log.info("{protocol} connection with {peer} established", protocol=self.intake.protocol, peer=peer)

    def closed(self, connection: Connection, peer: str, reason: Failure) -> None:
        """Count a connection's end."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self.limit.closed()
        clean = reason.check(ConnectionDone) is not None
        if self._log_connections if clean else self._log_lost:
            self.log.info(
                "{protocol} connection with {peer} {how}",
                protocol=self.intake.protocol,
                peer=peer,
                how="closed cleanly" if clean else f"lost: {reason.getErrorMessage()}",
            )
        self._settle()

    def passable(self) -> list[Connection]:
        """Return the connections that another process can go on with: nothing is between us and the client."""
        return [connection for connection in self.connections if not connection.wrapped]

    def drain(self, stays: bool) -> Deferred[None]:  # noqa: ARG002
        """Let clients end the connections that are not passable; the Deferred fires when none of them is left."""
        gone = self._gone(lambda: all(not connection.wrapped for connection in self.connections))
        for connection in list(self.connections):
            if connection.wrapped:
                connection.say_goodbye()
        return gone

    def close_idle(self) -> None:
        """Nothing: nobody knows which connections are done."""

    def disconnect(self) -> Deferred[None]:
        """Close all connections; the Deferred fires when the last one is gone."""
        gone = self._gone(lambda: not self.connections)
        for connection in list(self.connections):
            transport: Any = connection.transport
            transport.abortConnection()
        return gone

    def _gone(self, is_true: Callable[[], bool]) -> Deferred[None]:
        """Return what fires when enough connections have ended for something to be true."""
        done: Deferred[None] = Deferred()
        self._waiting.append((is_true, done))
        self._settle()
        return done

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for is_true, done in waiting:
            if is_true():
                done.callback(None)
            else:
                self._waiting.append((is_true, done))
