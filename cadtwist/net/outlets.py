"""The connections of a destination: each writes what its flight gives, as fast as the peer takes it.

A plain socket is written to directly (`sendmsg` of many chunks at once: no copy, few system calls), and asked how much
the peer's kernel has not confirmed yet; the transport only waits for it.  TLS goes through the transport's own buffer,
a bounded piece at a time.  What the peer sends is read and thrown away, so that its end is noticed.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import termios
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.journal.flight import Flight
from cadtwist.kernels import active
from cadtwist.net.keepalive import KeepAlive
from cadtwist.net.peerwindow import PeerWindow, offered_window, silence_s

__all__ = ["BufferedOutlet", "DatagramOutlet", "Outlet", "Owner", "SocketOptions", "SocketOutlet", "unconfirmed_bytes"]

PIECE_BYTES = 256 << 10
PROBE_BYTES = 4 << 10
LOOK_BYTES = 512 << 10
"""After so many bytes, or a quarter of the window, the peer's kernel is asked what it confirmed and still takes."""

LOOK_S = 0.005
_LONGEST_LOOK_S = 1.0
PUMP_BYTES = 1 << 20
UNSENT_BYTES = 256 << 10
"""How much the kernel may hold that it has not sent: more would only make live lines wait behind a backlog."""

_MOST_PIECES = 256
_TRANSPORT_BUFFER = 64 << 10
_REFUSALS = {
    errno.EMSGSIZE: "datagram_too_long",
    errno.ECONNREFUSED: "datagram_refused",
    errno.ENETUNREACH: "datagram_unreachable",
    errno.EHOSTUNREACH: "datagram_unreachable",
}


class Owner(Protocol):
    """What a connection asks of its destination."""

    def seconds(self) -> float:
        """Return the time of the queue."""

    def later(self, seconds: float, call: Callable[[], object]) -> IDelayedCall:
        """Call `call` after so many seconds."""

    def open_flight(self) -> Flight:
        """Return what a new connection sends from."""

    def opened(self, outlet: Outlet) -> None:
        """Take note of a connection that can be written to."""

    def closed(self, outlet: Outlet, reason: Failure) -> None:
        """Take note of the end of a connection."""

    def count_batch(self, size: int) -> None:
        """Count one write of `size` bytes."""

    def count_refused(self, what: str, lines: int) -> None:
        """Count a datagram that the kernel refused, and the lines that are lost with it."""


class SocketOptions:
    """How sockets towards a destination are set."""

    __slots__ = ("cork", "keep_alive")

    def __init__(self, cork: bool = False, keep_alive: KeepAlive | None = None) -> None:
        self.cork = cork
        self.keep_alive = keep_alive or KeepAlive()

    def apply(self, sock: socket.socket) -> None:
        """Set the options of a connected TCP socket."""
        self.keep_alive.apply(sock)
        wanted = (("TCP_CORK" if self.cork else "TCP_NODELAY", 1), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES))
        for option, number in wanted:
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), number)


def unconfirmed_bytes(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel has not confirmed (of a unix socket: the peer has not read), at most."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, "little" if socket.ntohs(1) != 1 else "big")


class Outlet(TwistedProtocol):
    """One connection.  `blocked`: the kernel takes no more for now; `retired`: it takes nothing new.  Reactor thread.

    `number` tells which of the destination's connections it is.  `peer` tells what a TCP peer has not read: while that
    is more than half the window nothing is written (`holding`), for it would be lost with the peer.
    """

    flight: Flight
    transport: Any
    peer: PeerWindow | None = None
    tcp: socket.socket | None = None

    def __init__(self, owner: Owner, options: SocketOptions, number: int = 0) -> None:
        self.owner = owner
        self.options = options
        self.number = number
        self.blocked = False
        self.holding = False
        self.retired = False
        self.released = False
        self.since = 0.0
        self._is_open = False
        self._was_blocked = False
        self._gone = False
        self._looked_at = 0
        self._look_call: IDelayedCall | None = None
        self._look_s = LOOK_S

    def connectionMade(self) -> None:
        """Begin to send."""
        self.open()

    def open(self) -> None:
        """Take from the queue from now on."""
        self.since = self.owner.seconds()
        self.flight = self.owner.open_flight()
        self._is_open = True
        self.begin()
        if self.tcp is not None:
            self.options.apply(self.tcp)
        self.owner.opened(self)

    def begin(self) -> None:
        """Prepare the transport."""

    def dataReceived(self, data: bytes) -> None:
        """Throw away what the peer says."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Queue again what is not safe."""
        self._gone = True
        if self._look_call is not None:
            self._look_call.cancel()
            self._look_call = None
        if self._is_open:
            self.flight.lost(self.owner.seconds())
        self.owner.closed(self, reason)

    def pump(self, now: float) -> None:
        """Write what the queue gives until it is empty, the kernel takes no more, or others should have a turn."""
        left = PUMP_BYTES
        while not (self.blocked or self._gone):
            pieces = self.flight.fill(0 if self.retired else PIECE_BYTES, now)
            self.holding = bool(pieces) and self.peer is not None and self.peer.held
            if self.holding:
                self._look_again()
            if not pieces or self.holding or (left <= 0 and self.pass_turn()):
                break
            left -= self._write_some(pieces, now)

    def _write_some(self, pieces: deque[memoryview], now: float) -> int:
        flight, size = self.flight, self.write(pieces)
        if size:
            flight.wrote(size)
            self.owner.count_batch(size)
            window = flight.window_bytes
            if window and flight.written - self._looked_at >= min(LOOK_BYTES, window // 4):
                self.poll(now)
        return size

    def _look_again(self) -> None:
        """Look soon whether the peer has read, later each time."""
        if self._look_call is None:
            self._look_call = self.owner.later(self._look_s, self._look)
            self._look_s = min(2 * self._look_s, _LONGEST_LOOK_S)

    def _look(self) -> None:
        """Look whether the peer has read; if it does not say so, write a little, to get an answer."""
        self._look_call = None
        now = self.owner.seconds()
        self.poll(now)
        if self.peer is None or not self.peer.held:
            self._look_s = LOOK_S
        elif self.holding and self.settled_so_far and not self.blocked:
            self._write_some(deque([self.flight.fill(1, now)[0][:PROBE_BYTES]]), now)
            self.peer.probed()
        self.pump(now)

    def pass_turn(self) -> bool:
        """Arrange to go on in the next turn of the reactor, if that is needed."""
        return False

    def write(self, pieces: deque[memoryview]) -> int:
        """Write some of `pieces`; return how many bytes were taken."""
        raise NotImplementedError

    def wait(self) -> None:
        """Go on when the kernel takes bytes again."""
        self.blocked = self._was_blocked = True

    def go_on(self) -> None:
        """Write again: the kernel takes bytes."""
        if self.blocked and not self.released:
            self.blocked = False
            self.pump(self.owner.seconds())

    def poll(self, now: float) -> None:
        """Learn how much the peer has confirmed, and how much of it waits there to be read."""
        if self._gone:
            return
        flight = self.flight
        confirmed = self.confirmed()
        unread = self._unread(confirmed >= flight.written, now)
        flight.acknowledged(confirmed, now, not (self._was_blocked or self.holding), unread)
        self._was_blocked = self.blocked
        self._looked_at = flight.written

    def _unread(self, all_confirmed: bool, now: float) -> int:
        """Return how many confirmed bytes wait at the peer, as far as is known; 0 where nothing is sent again."""
        most = self.flight.window_bytes // 2  # a reload may change it
        window = offered_window(self.tcp) if most and self.tcp is not None else None
        if window is None:
            self.peer = None
            return 0
        if self.peer is None:
            self.peer = PeerWindow(most)
        self.peer.most = most
        self.peer.look(window, all_confirmed, now)
        return self.peer.unread

    def silence_s(self) -> float:
        """Return for how many seconds a TCP peer has confirmed nothing, though it is asked again and again."""
        return 0.0 if self.tcp is None or self._gone else silence_s(self.tcp)

    def confirmed(self) -> int:
        """Return the offset up to which the peer's kernel has confirmed the bytes."""
        raise NotImplementedError

    @property
    def settled(self) -> bool:
        """True when all that was taken is written and confirmed."""
        return not self._gone and not self.flight.unwritten_bytes and self.settled_so_far

    @property
    def settled_so_far(self) -> bool:
        """True when all that was written is confirmed."""
        return not self._gone and self.confirmed() >= self.flight.written

    def release(self) -> None:
        """Get ready for the transport to be closed in order: nothing more is written."""
        if not self.released:
            self.released = self.blocked = True
            if self.settled:
                self.flight.finished()
            if self.transport is not None:
                self.transport.unregisterProducer()

    def end(self) -> None:
        """Give the connection up at once."""
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()
        elif self.transport is not None:
            self.transport.loseConnection()


@implementer(IPullProducer)
class SocketOutlet(Outlet):
    """Over a plain TCP or unix socket."""

    _socket: socket.socket

    def begin(self) -> None:
        """Set the socket's options and wait for nothing yet."""
        self._socket = self.transport.getHandle()
        self.tcp = self._socket if self._socket.family != socket.AF_UNIX else None
        self.transport.registerProducer(self, False)

    def write(self, pieces: deque[memoryview]) -> int:
        """Write some of `pieces`; what the kernel does not take waits until it does."""
        offered = list(islice(pieces, _MOST_PIECES))
        try:
            size = self._socket.sendmsg(offered)
        except (BlockingIOError, InterruptedError):
            size = 0
        except OSError:
            self._gone = True
            self.end()
            return 0
        if size < sum(map(len, offered)):
            self.wait()
        return size

    def wait(self) -> None:
        """Ask the reactor to tell when the socket takes bytes."""
        super().wait()
        self.transport.startWriting()

    def pass_turn(self) -> bool:
        """Let the reactor call again."""
        self.blocked = True
        self.transport.startWriting()
        return True

    def resumeProducing(self) -> None:
        """Write again."""
        self.go_on()

    def stopProducing(self) -> None:
        """Nothing: the end of the connection is told as such."""

    def release(self) -> None:
        """Close soon: the transport has nothing to write, but would wait until a peer that does not read takes more.

        The kernel goes on sending what it has.
        """
        if not self.released:
            self.owner.later(0.0, self._close)
        super().release()

    def _close(self) -> None:
        if not self._gone:
            self.transport.stopReading()
            self.transport.stopWriting()
            self.transport.connectionLost(Failure(ConnectionDone()))

    def confirmed(self) -> int:
        """Return the bytes written less those that the kernel still keeps."""
        return self.flight.written - unconfirmed_bytes(self._socket)


@implementer(IPushProducer, IHandshakeListener)
class BufferedOutlet(Outlet):
    """Over a transport that keeps what it is given until it is written (TLS: after the handshake only)."""

    waits_for_handshake = False

    def connectionMade(self) -> None:
        """Begin to send, unless there is a handshake first."""
        if not self.waits_for_handshake:
            self.open()

    def handshakeCompleted(self) -> None:
        """Begin to send: the peer is who it should be."""
        self.open()

    def begin(self) -> None:
        """Ask to be told when the transport has enough."""
        self._socket = self._find_socket()
        self.tcp = self._socket if self._socket is not None and self._socket.family != socket.AF_UNIX else None
        self._handed = self._confirmed = 0
        self.transport.registerProducer(self, True)

    def _find_socket(self) -> socket.socket | None:
        below = getattr(self.transport, "transport", None)
        handle = below.getHandle() if below is not None and hasattr(below, "getHandle") else None
        return handle if isinstance(handle, socket.socket) else None

    def write(self, pieces: deque[memoryview]) -> int:
        """Hand a bounded piece to the transport."""
        data = b"".join(islice(pieces, _MOST_PIECES))
        self.transport.write(data)
        return len(data)

    def pauseProducing(self) -> None:
        """Stop writing."""
        self.wait()

    def resumeProducing(self) -> None:
        """Write again."""
        self.go_on()

    def stopProducing(self) -> None:
        """Stop writing for good."""
        self.wait()

    def release(self) -> None:
        """Close in order if all is written, else at once: the transport would wait for a peer that does not read."""
        settled = self.settled
        super().release()
        if not settled:
            self.end()

    def confirmed(self) -> int:
        """Return a lower bound: what was handed over before the last question, less what buffers may keep."""
        unsent = 0 if self._socket is None else unconfirmed_bytes(self._socket)
        if self.blocked:
            return self._confirmed
        kept = unsent + _TRANSPORT_BUFFER if unsent else 0
        self._confirmed = max(self._confirmed, self._handed - kept)
        self._handed = self.flight.written
        return self._confirmed


class DatagramOutlet(SocketOutlet):
    """Over a connected UDP socket: what the kernel took is gone."""

    datagram_bytes = 1400

    def begin(self) -> None:
        """Wait for nothing yet."""
        self._socket = self.transport.getHandle()
        self.transport.registerProducer(self, False)

    def write(self, pieces: deque[memoryview]) -> int:
        """Send datagrams of whole lines."""
        size, full, refused = active.udpsend.send_lines(self._socket.fileno(), pieces[0], self.datagram_bytes)
        for number, lines in refused:
            self.owner.count_refused(_REFUSALS.get(number, "datagram_failed"), lines)
        if full:
            self.wait()
        return size

    def confirmed(self) -> int:
        """Return the bytes that the kernel took."""
        return self.flight.written
