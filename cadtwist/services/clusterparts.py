"""The servers of a cluster as parts of the process that answers HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from cadtwist.config.clustermodel import ClusterConfig
from cadtwist.config.model import Listener
from cadtwist.model.clusterserver import Server, parse_server
from cadtwist.net.client import Retry, retry_delays
from cadtwist.web.cluster import Cluster, ClusterOptions

if TYPE_CHECKING:
    from cadtwist.net.clusterhttp import Ask
    from cadtwist.net.clusternode import ClusterNode

__all__ = ["ClusterService", "Tally", "cluster_of", "others_only"]

TELL_S = 1.0
FIRST_LOOK_S = 1.0
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 (what listeners are compared with)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Count = Callable[[str], object]


def others_only(
    cluster: ClusterConfig, doors: Iterable[Listener], names: Sequence[str] | None = None
) -> ClusterConfig:
    """Return a cluster without the process that listens at `doors`, where that is asked for.

    `names` are those of this machine.
    """
    if not cluster.exclude_local or not cluster.servers:
        return cluster
    mine = {*_LOOPBACK, *((socket.gethostname(), socket.getfqdn()) if names is None else names)}
    own = [(door.port, door.interface) for door in doors if door.protocol == "http" and door.transport == "tcp"]

    def is_own(server: Server) -> bool:
        return any(
            server.port == port and (server.host == interface or (server.host in mine and _is_mine(interface)))
            for port, interface in own
        )

    servers = (text for text in cluster.servers if not is_own(parse_server(text, cluster.https)))
    return replace(cluster, servers=tuple(servers))


def _is_mine(interface: str) -> bool:
    return interface in _ANY or interface in _LOOPBACK


def cluster_of(
    reactor: Any, config: ClusterConfig, clock: Callable[[], float], count: Count, ask: Ask | None = None
) -> ClusterService | None:
    """Return the servers of a configuration, None where there are none; `count(what)` counts for them."""
    servers = [parse_server(text, config.https) for text in dict.fromkeys(config.servers)]
    if not servers:
        return None
    from cadtwist.net.clusterhttp import HttpAsk  # noqa: PLC0415 (only where others are asked)
    from cadtwist.net.clusternode import ClusterNode, NodeOptions  # noqa: PLC0415

    own = None if ask else HttpAsk(reactor, config.max_answer_bytes, config.find_timeout_s)
    asking: Any = ask or own
    first = min(FIRST_LOOK_S, config.retry_delay_s)
    delays = retry_delays(Retry(initial_s=first, factor=2.0, max_s=config.retry_delay_s, jitter=0.1))
    options = NodeOptions(config.find_timeout_s, config.fetch_timeout_s, config.use_post, delays)
    nodes = [ClusterNode(reactor, server, asking, options, _counter(count, server.name)) for server in servers]
    ways = ClusterOptions(config.merge, config.fail_on_error, tuple(config.forward_headers))
    return ClusterService(Cluster(nodes, clock, count, ways), nodes, None if own is None else own.close)


def _counter(count: Count, name: str) -> Count:
    return lambda what: count(f"{name} {what}")


class ClusterService(Service):
    """The servers beside us, from the first question what they can to the last look whether they live."""

    name = "cluster"

    def __init__(self, cluster: Cluster, nodes: Sequence[ClusterNode], close: Callable[[], Any] | None = None) -> None:
        self.cluster = cluster
        self._nodes = nodes
        self._close = close

    def startService(self) -> None:
        """Ask all servers what they can."""
        super().startService()
        for node in self._nodes:
            node.start()

    def stopService(self) -> Any:
        """Look no more, and close connections."""
        super().stopService()
        for node in self._nodes:
            node.stop()
        return None if self._close is None else self._close()


class Tally:
    """Counts, and tells what was counted once in a while: for a process whose counters another one keeps."""

    def __init__(self, clock: IReactorTime, tell: Callable[[dict[str, int]], object]) -> None:
        self._clock = clock
        self._tell = tell
        self._counts: dict[str, int] = {}

    def count(self, what: str, amount: int = 1) -> None:
        """Count one more, or several."""
        if not self._counts:
            self._clock.callLater(TELL_S, self._send)
        self._counts[what] = self._counts.get(what, 0) + amount

    def _send(self) -> None:
        counts, self._counts = self._counts, {}
        self._tell(counts)
