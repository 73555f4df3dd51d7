"""Which names a router routes alike, told by a hash that kernels know: then it need not be asked about each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cadtwist.kernels import active, ringhash
from cadtwist.routing.hashes import Hash, carbon_ch, fnv1a_32, fnv1a_ch, relay_fnv1a_ch
from cadtwist.routing.ring import FastList, Ring
from cadtwist.routing.routers import (
    AnyOfRouter,
    BalanceRouter,
    ConstantRouter,
    FailoverRouter,
    HashRouter,
    PoolRouter,
    Router,
)

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["REMEMBERED_NAMES", "Likeness", "alike", "arcs_of"]

REMEMBERED_NAMES = 1 << 14
"""So many names are remembered all the same: they are found faster than hashed."""

_MOST_ARCS = 1 << 16
_HASHES: dict[Hash, int] = {
    carbon_ch: ringhash.CARBON_CH,
    fnv1a_ch: ringhash.FNV1A_CH,
    relay_fnv1a_ch: ringhash.FNV1A_CH,  # of ASCII names, and others stand for themselves
    fnv1a_32: ringhash.FNV1A_32,
}


class Likeness(NamedTuple):
    """Names on one arc are routed alike; the fields are those of the kernel's `Arcs`."""

    hash_number: int = ringhash.NONE
    edges: tuple[int, ...] = ()
    after: bool = False
    parts: int = 0


def alike(router: Router) -> Likeness | None:
    """Return how names are told that `router` routes alike, None where only it can tell."""
    if isinstance(router, (ConstantRouter, FailoverRouter, BalanceRouter)):
        return Likeness()
    if isinstance(router, PoolRouter):
        return alike(router.router)
    if isinstance(router, AnyOfRouter):
        return _parted(fnv1a_32, len(router.targets) * max(len(router.targets) - 1, 1))
    if isinstance(router, HashRouter):
        placement = router.placement
        if isinstance(placement, Ring):
            return _on_ring(placement)
        if isinstance(placement, FastList):
            return _parted(placement.hash, len(placement.order))
    return None


def _on_ring(ring: Ring) -> Likeness | None:
    edges = tuple(position for position, _ in ring.entries)
    number = _HASHES.get(ring.hash) if edges else ringhash.NONE
    if number is None or len(edges) >= _MOST_ARCS:
        return None
    return Likeness(number, edges, ring.strictly_after)


def _parted(hash_of: Hash, parts: int) -> Likeness | None:
    number = _HASHES.get(hash_of) if parts else ringhash.NONE
    return None if number is None or parts > _MOST_ARCS else Likeness(number, parts=parts)


def arcs_of(router: Router, table: tables.MetricTable, names: int = REMEMBERED_NAMES) -> active.arcs.Arcs | None:
    """Return what gives ids to the names of lines so that `router` is asked about few of them; None: about each."""
    found = alike(router)
    return None if found is None else active.arcs.Arcs(table, *found, names)
