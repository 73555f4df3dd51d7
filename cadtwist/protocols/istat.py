"""istatd's lines over streams and datagrams, what each connection says of itself, and who is not let in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from cadtwist.codec.istat import StatCodec, StatTail
from cadtwist.protocols.factory import Connection
from cadtwist.protocols.intake import Bad, Intake

__all__ = ["Peers", "StatConnection", "StatDatagrams"]

KEPT_OFFLINE = 100
IDLE_S = 90_000


class _Peer:
    """What is known of one connection, or of all senders of datagrams."""

    def __init__(self, tail: StatTail, address: str, now: float) -> None:
        self.tail = tail
        self.address = address
        self.connected = now
        self.active = now
        self.ended: float | None = None


class Peers:
    """All connections to the line port, those that ended too until they are purged, and the blacklist.

    `now()` is epoch seconds.  `refused` counts connections that were closed because of the blacklist.  Reactor thread.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.blacklist: frozenset[str] = frozenset()
        self.refused = 0
        self._now = now
        self._peers: dict[StatTail, _Peer] = {}

    def begin(self, tail: StatTail, address: str) -> None:
        """Note a new connection; its record is listed from its first bytes on, or when it ended."""
        self._peers[tail] = _Peer(tail, address, self._now())

    def heard(self, tail: StatTail) -> None:
        """Note that something came."""
        peer = self._peers.get(tail)
        if peer is not None:
            peer.active = self._now()

    def end(self, tail: StatTail) -> None:
        """Note the end of a connection."""
        peer = self._peers.get(tail)
        if peer is not None and peer.ended is None:
            peer.ended = self._now()

    def check(self, tail: StatTail) -> None:
        """Refuse a connection whose host is on the blacklist."""
        if not self.blacklist or tail.refused:
            return
        if tail.info.get("hostname", "").lower() in self.blacklist:
            tail.refused = True
            tail.info["blacklisted"] = "true"
            self.refused += 1
            self.end(tail)

    def told(self) -> Sequence[Mapping[str, object]]:
        """Return a record of each connection, in the order in which they began."""
        now = self._now()
        return [
            {
                **peer.tail.info,
                "_peer": peer.address,
                "_online": peer.ended is None,
                "_connected": f"{datetime.fromtimestamp(peer.connected, timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
                "_idle": int(now - peer.active),
            }
            for peer in self._peers.values()
        ]

    def purge(self, most: int = KEPT_OFFLINE, age_s: float = 0) -> None:
        """Forget connections that ended, oldest first, down to `most`; none that ended in the last `age_s`."""
        now = self._now()
        ended = sorted((p for p in self._peers.values() if p.ended is not None), key=lambda p: p.ended or 0)
        for peer in ended[: max(0, len(ended) - most)]:
            if peer.ended is not None and now - peer.ended >= age_s:
                del self._peers[peer.tail]

    def purge_idle(self) -> None:
        """Forget all but the newest ended connections, and those idle for more than a day."""
        self.purge()
        now = self._now()
        for peer in list(self._peers.values()):
            if peer.ended is not None and now - peer.active > IDLE_S:
                del self._peers[peer.tail]


class StatConnection(Connection):
    """A client's lines; it is closed when its host is on the blacklist."""

    def __init__(self, intake: Intake, peers: Peers) -> None:
        super().__init__(intake)
        self.state = StatTail()
        self._peers = peers

    @property
    def broken(self) -> bool:
        """Whether the client is refused."""
        return bool(self.state.refused)

    def connectionMade(self) -> None:
        """Begin, and list the client."""
        super().connectionMade()
        peer = self.transport.getPeer() if self.transport is not None else None
        host, port = getattr(peer, "host", "unix"), getattr(peer, "port", 0)
        self._peers.begin(self.state, f"{host}:{port}")

    def dataReceived(self, data: bytes) -> None:
        """Hand the bytes on unless the client is refused."""
        self._peers.heard(self.state)
        self._peers.check(self.state)
        super().dataReceived(data)

    def take_up(self, unread: bytes, skipping: bool) -> None:
        """Go on where the client's connection to a former process was, knowing what it said of itself."""
        if unread:
            self.dataReceived(unread)
        if skipping:
            self.state.skip()

    def connectionLost(self, *arguments: object) -> None:
        """End; the record stays listed."""
        self._peers.end(self.state)
        super().connectionLost(*arguments)  # type: ignore[arg-type]


class StatDatagrams:
    """A StatCodec as an intake of datagrams wants it; all senders share one record."""

    def __init__(self, codec: StatCodec, peers: Peers) -> None:
        self._codec = codec
        self._tail = StatTail()
        self._peers = peers
        self._listed = False

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self._codec.pending

    def feed(self, state: StatTail, data: bytes, now: float, bad: Bad) -> None:
        """Read what a connection sent."""
        self._codec.feed(state, data, now, bad)

    def flush(self) -> None:
        """Emit the rows that wait."""
        self._codec.flush()

    def datagram(self, data: bytes, now: float, bad: Bad, after: Callable[[int], int]) -> None:
        """Read datagrams, each ended by a line feed; `after` tells where the next one begins."""
        if not self._listed:
            self._listed = True
            self._peers.begin(self._tail, "udp:0")
        self._peers.heard(self._tail)
        start = 0
        while start < len(data):
            begins = max(after(start), start + 1)
            self._codec.datagram(self._tail, data[start:begins], now, bad)
            start = begins
