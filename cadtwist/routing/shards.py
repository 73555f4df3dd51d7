"""Which of several stores keep a counter: by consistent hash of its name, so that one more store moves little."""

from __future__ import annotations

from collections.abc import Sequence

from cadtwist.kernels.statformat import munge
from cadtwist.model.shard import Shard
from cadtwist.routing.ring import CarbonRing, Member

__all__ = ["OWN_PREFIX", "ShardMap"]

OWN_PREFIX = b"istatd."
"""How the counters begin that each daemon keeps about itself: they stay where they are."""


class ShardMap:
    """The shards by name, and the `copies` of them that keep each counter.  A value.

    `own` is the name of the one that asks, empty for one that keeps nothing.
    """

    def __init__(self, shards: Sequence[Shard], own: str = "", copies: int = 1) -> None:
        self.shards = {shard.name: shard for shard in shards}
        self.own = own
        self.copies = max(1, min(copies, len(self.shards)))
        self._ring = CarbonRing(Member(name, host=name) for name in sorted(self.shards))

    @property
    def others(self) -> list[Shard]:
        """All shards but the own one."""
        return [shard for shard in self.shards.values() if shard.name != self.own]

    def keepers(self, name: bytes) -> tuple[str, ...]:
        """Return the names of the shards that keep a counter (in any spelling), in order of preference."""
        counter = munge(name)
        if counter.startswith(OWN_PREFIX):
            return (self.own,) if self.own else ()
        return self._ring.lookup(counter, self.copies)

    def asked(self, name: bytes) -> tuple[str, ...]:
        """Return the same with the own one, which need not be asked over the network, first."""
        keepers = self.keepers(name)
        return (self.own, *(each for each in keepers if each != self.own)) if self.own in keepers else keepers
