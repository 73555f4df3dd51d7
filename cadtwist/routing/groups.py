"""From the values of a group to its router: which placement a method means, and what is wrapped around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cadtwist.routing.ring import (
    CADENT_VNODES,
    CadentRing,
    CarbonRing,
    FastList,
    JumpList,
    KetamaRing,
    Member,
    Placement,
    RelayRing,
)
from cadtwist.routing.routers import (
    AggregatedRouter,
    AnyOfRouter,
    BalanceRouter,
    ConstantRouter,
    FailoverRouter,
    HashRouter,
    PoolRouter,
    Router,
    ShardRouter,
    carbon_rules,
)
from cadtwist.routing.shardmap import ShardMap

__all__ = ["group_router", "placement"]

_FIXED: dict[str, Callable[[Iterable[str]], Router]] = {
    "constant": ConstantRouter,
    "failover": FailoverRouter,
    "balance": BalanceRouter,
}


def placement(
    method: str,
    members: Iterable[Member],
    hash_type: str = "",
    elter: str = "simple",
    vnodes: int = CADENT_VNODES,
) -> Placement:
    """Return how a hashing `method` places names on `members`; an empty `hash_type` is the method's default.

    Methods are carbon, carbon_fast, c_relay, cadent and hashring.  ValueError for another one, for a hash that the
    method does not know, and for members that cannot be told apart.
    """
    if method == "carbon":
        return CarbonRing(members, hash_type or "carbon_ch")
    if method == "carbon_fast":
        return FastList(members, hash_type or "mmh3_ch")
    if method == "c_relay":
        return JumpList(members) if hash_type == "jump_fnv1a_ch" else RelayRing(members, hash_type or "carbon_ch")
    if method == "cadent":
        return CadentRing(members, hash_type or "mmh3", elter, vnodes)
    if method == "hashring":
        return KetamaRing(members)
    raise ValueError(f"{method!r} is not a method that hashes onto a ring")


def group_router(
    method: str,
    members: Sequence[Member],
    *,
    hash_type: str = "",
    elter: str = "simple",
    vnodes: int = CADENT_VNODES,
    copies: int = 1,
    diverse: bool = False,
    stand_in: bool = False,
    pools: bool = False,
    aggregates: Callable[[str], Iterable[str]] | None = None,
    rules: Iterable[tuple[str | None, Sequence[str], bool]] = (),
) -> Router:
    """Return the router of a group.

    Besides the methods of `placement` there are constant, failover, balance, any_of, shards (members repeat: each is
    one shard) and rules.  `rules` are (pattern, keys, continue) in order, the default's pattern None; what is not among
    `members` is left out of them.  `stand_in`: others take what a dead member of a ring should get.  `pools`: members
    of equal host and port share what any of them should get.  `aggregates` is as `AggregatedRouter` has it.
    ValueError for values that do not fit.
    """
    keys = [member.key for member in members]
    router: Router
    if method in _FIXED:
        router = _FIXED[method](keys)
    elif method == "any_of":
        router = AnyOfRouter(keys, tagless=True)
    elif method == "shards":
        router = ShardRouter(ShardMap(keys))
    elif method == "rules":
        router = _ruled(rules, keys)
    else:
        placed = placement(method, members, hash_type, elter, vnodes)
        router = HashRouter(placed, copies, diverse=diverse, stand_in=stand_in, tagless=method == "c_relay")
    if aggregates is not None:
        router = AggregatedRouter(router, aggregates)
    return PoolRouter(router, _pools(members)) if pools else router


def _ruled(rules: Iterable[tuple[str | None, Sequence[str], bool]], keys: Sequence[str]) -> Router:
    patterns: list[tuple[str, Sequence[str], bool]] = []
    default: Sequence[str] | None = None
    for pattern, targets, goes_on in rules:
        if pattern is not None:
            patterns.append((pattern, targets, goes_on))
        elif default is None:
            default = targets
        else:
            raise ValueError("there are two default rules")
    if default is None:
        raise ValueError("one default rule is needed")
    return carbon_rules(patterns, default, keys)


def _pools(members: Iterable[Member]) -> dict[str, list[str]]:
    """Return the keys of the pool that each member belongs to, for those that are not alone."""
    by_address: dict[tuple[str, int], list[str]] = {}
    for member in members:
        by_address.setdefault((member.host, member.port), []).append(member.key)
    return {key: pool for pool in by_address.values() if len(pool) > 1 for key in pool}
