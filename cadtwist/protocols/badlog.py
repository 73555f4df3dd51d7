"""Tells the log of bad input, at most once per peer and interval, whatever is sent."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger, LogLevel

from cadtwist.model.badinput import BadInput

__all__ = ["BadInputLog"]


class BadInputLog:
    """Shared by all receivers of a process; reactor thread.

    Each peer (an address without port) is written of at most once in `interval_s`; what it does meanwhile is counted
    and told with the next line.  At most `max_peers` peers are remembered: while all places are taken by fresh ones,
    further peers are only counted.
    """

    log = Logger()

    def __init__(self, now: Callable[[], float], interval_s: float = 60.0, max_peers: int = 1024) -> None:
        self._now = now
        self._interval_s = interval_s
        self._max_peers = max_peers
        self._peers: dict[str, tuple[float, int]] = {}

    def __call__(self, protocol: str, peer: str, bad: BadInput, items: int) -> None:
        """Tell that `peer` sent `items` pieces of bad input over `protocol`, of which `bad` is an example."""
        now = self._now()
        before = self._peers.get(peer)
        if before is not None and now - before[0] < self._interval_s:
            self._peers[peer] = before[0], before[1] + items
            return
        if before is None and len(self._peers) >= self._max_peers and not self._make_room(now):
            return
        self._peers.pop(peer, None)
        self._peers[peer] = now, 0
        self.log.emit(
            LogLevel.warn,
            "{protocol}: bad input from {peer}: {kind}: {excerpt!r} ({items} now, {before} since it was told last)",
            protocol=protocol,
            peer=peer,
            kind=bad.kind,
            excerpt=bad.excerpt,
            items=items,
            before=before[1] if before is not None else 0,
        )

    def _make_room(self, now: float) -> bool:
        """Forget the peers whose interval is over, oldest first; return whether there is a place."""
        for peer, (told, _) in list(self._peers.items()):
            if now - told < self._interval_s:
                break
            del self._peers[peer]
        return len(self._peers) < self._max_peers
