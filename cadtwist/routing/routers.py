"""Routers: from the name of a metric to its route.  Pure values.

A router never changes: a change of members makes another one, whose decisions are taken anew.  Names are bytes or
text: what is hashed are the bytes, what patterns see is the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from cadtwist.model.prereg import PreReg, Verdict
from cadtwist.routing.hashes import name_bytes, relay_fnv1a_32
from cadtwist.routing.ring import Placement
from cadtwist.routing.routes import Choice, Route, shown
from cadtwist.routing.shardmap import ShardMap

__all__ = [
    "AggregatedRouter",
    "AnyOfRouter",
    "BalanceRouter",
    "ConstantRouter",
    "FailoverRouter",
    "HashRouter",
    "PoolRouter",
    "Router",
    "Rule",
    "RuleRouter",
    "SectionRouter",
    "ShardRouter",
    "UnionRouter",
    "carbon_rules",
]


class Router(Protocol):
    """Decides where metrics go."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Every key that a route may name, each once."""

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name; an empty one: nobody gets it.  Equal names have equal routes."""

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def _each_once(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(keys))


def _one_by_one(keys: Iterable[str]) -> Route:
    """Return the route on which each of `keys` gets a datapoint, or its queue does."""
    return tuple(Choice((key,)) for key in keys)


def _untagged(name: bytes) -> bytes:
    return name.partition(b";")[0]


class _FixedRouter:
    """One route for all names."""

    label = ""

    def __init__(self, targets: Iterable[str], route: Callable[[tuple[str, ...]], Route]) -> None:
        self.targets = _each_once(targets)
        self._route = route(self.targets) if self.targets else ()

    def route(self, name: str | bytes) -> Route:  # noqa: ARG002 - the same for all
        """Return the route."""
        return self._route

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return f"{self.label}: {shown(self.route(name))}"


class ConstantRouter(_FixedRouter):
    """Every target gets every metric: carbon's `constant`, carbon-c-relay's `forward`; without any, a black hole."""

    label = "all"

    def __init__(self, targets: Iterable[str]) -> None:
        super().__init__(targets, _one_by_one)


class FailoverRouter(_FixedRouter):
    """The first target that is live gets every metric."""

    label = "failover"

    def __init__(self, targets: Iterable[str]) -> None:
        super().__init__(targets, lambda keys: (Choice(keys),))


class BalanceRouter(_FixedRouter):
    """Of the targets that are live, the one with the least load gets a metric: names move between them."""

    label = "load balance"

    def __init__(self, targets: Iterable[str]) -> None:
        super().__init__(targets, lambda keys: (Choice(keys, balanced=True),))


class AnyOfRouter:
    """carbon-c-relay's `any_of`: FNV-1a of the name modulo the number of targets.

    Names of a target that is down are spread over the others, each always to the same one.  `tagless`: hash what
    comes before the first `;`, as a running carbon-c-relay does.
    """

    def __init__(self, targets: Iterable[str], tagless: bool = False) -> None:
        self.targets = _each_once(targets)
        self._tagless = tagless
        self._routes: dict[tuple[int, int], Route] = {}

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        if not self.targets:
            return ()
        key = name_bytes(name)
        digest = relay_fnv1a_32(_untagged(key) if self._tagless else key)
        turns, first = divmod(digest, len(self.targets))
        second = turns % max(len(self.targets) - 1, 1)
        route = self._routes.get((first, second))
        if route is None:
            others = self.targets[first + 1 :] + self.targets[:first]
            route = (Choice((self.targets[first], *others[second:], *others[:second])),)
            self._routes[first, second] = route
        return route

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return f"any of {len(self.targets)}: {shown(self.route(name))}"


class HashRouter:
    """Places each name on `count` members of a ring or a list that serves like one.

    `diverse`: on members of different hosts, as carbon's DIVERSE_REPLICAS has it.  `stand_in`: where a member is down,
    the next ones stand in, as if it were not on the ring; else its queue waits for it.  `tagless`: hash what comes
    before the first `;`, as a running carbon-c-relay does.
    """

    def __init__(
        self,
        placement: Placement,
        count: int = 1,
        *,
        diverse: bool = False,
        stand_in: bool = False,
        tagless: bool = False,
    ) -> None:
        if count < 1:
            raise ValueError("at least one replica is needed")
        self.placement = placement
        self.count = count
        self.targets = tuple(placement.members)
        self._diverse, self._stand_in, self._tagless = diverse and count > 1, stand_in, tagless
        self._all = self._diverse or stand_in
        self._routes: dict[tuple[str, ...], Route] = {(): ()}

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        key = self._hashed(name)
        keys = self.placement.ranked(key, self.count) if self._all else self.placement.lookup(key, self.count)
        route = self._routes.get(keys)
        if route is None:
            route = self._routes[keys] = self._decided(keys)
        return route

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return f"{self.placement.describe(self._hashed(name))}: {shown(self.route(name))}"

    def _hashed(self, name: str | bytes) -> bytes:
        key = name_bytes(name)
        return _untagged(key) if self._tagless else key

    def _decided(self, keys: tuple[str, ...]) -> Route:
        places = [self.placement.members[key].host for key in keys]
        if self._stand_in:
            return (Choice(keys, self.count, tuple(places) if self._diverse else ()),)
        if self._diverse:
            firsts: dict[str, str] = {}
            for key, place in zip(keys, places, strict=True):
                firsts.setdefault(place, key)
            keys = tuple(firsts.values())[: self.count]
        return _one_by_one(keys)


class UnionRouter:
    """What any of `routers` gives: Cadent's replica sets, statsrelay's groups, the clusters of one rule."""

    def __init__(self, routers: Sequence[Router]) -> None:
        self.routers = tuple(routers)
        self.targets = _each_once(key for router in self.routers for key in router.targets)

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        return _joined(router.route(name) for router in self.routers)

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return " + ".join(router.explain(name) for router in self.routers)


def _joined(routes: Iterable[Route]) -> Route:
    return tuple(dict.fromkeys(choice for route in routes for choice in route))


class AggregatedRouter:
    """carbon's aggregated hashing: a metric goes where its aggregates would go, or where its own name does.

    `aggregates` gives the names of the aggregates to which a metric contributes, none for most metrics.
    """

    def __init__(self, router: Router, aggregates: Callable[[str], Iterable[str]]) -> None:
        self.router = router
        self._aggregates = aggregates
        self.targets = router.targets

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        names = _each_once(self._aggregates(_text(name)))
        if len(names) < 2:
            return self.router.route(names[0] if names else name)
        return _joined(self.router.route(each) for each in names)

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        names = _each_once(self._aggregates(_text(name)))
        if not names:
            return f"no aggregate, {self.router.explain(name)}"
        return " + ".join(f"aggregate {each}, {self.router.explain(each)}" for each in names)


class Rule(NamedTuple):
    """Names in which `pattern` is found go where `router` says; `goes_on`: and the rules behind are asked as well."""

    pattern: re.Pattern[str]
    router: Router
    goes_on: bool = False


class RuleRouter:
    """Asks rules in order; `default` serves what no rule has ended.

    `tagless`: the patterns see what comes before the first `;`, as in carbon-c-relay.
    """

    def __init__(self, rules: Iterable[Rule], default: Router, tagless: bool = False) -> None:
        self.rules = tuple(rules)
        self.default = default
        self._tagless = tagless
        self.targets = _each_once(
            key for rule in (*self.rules, Rule(re.compile(""), default)) for key in rule.router.targets
        )

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        routers = [router for _, router in self._matching(name)]
        return routers[0].route(name) if len(routers) == 1 else _joined(router.route(name) for router in routers)

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return " + ".join(f"{why}, {router.explain(name)}" for why, router in self._matching(name))

    def _matching(self, name: str | bytes) -> list[tuple[str, Router]]:
        text = _text(name)
        if self._tagless:
            text = text.partition(";")[0]
        found: list[tuple[str, Router]] = []
        for pattern, router, goes_on in self.rules:
            if pattern.search(text):
                found.append((f"rule {pattern.pattern}", router))
                if not goes_on:
                    return found
        return [*found, ("default rule", self.default)]


def carbon_rules(
    rules: Iterable[tuple[str, Sequence[str], bool]],
    default: Sequence[str],
    destinations: Collection[str],
) -> RuleRouter:
    """Return the router of a relay-rules.conf: (pattern, destinations, continue) in order, and the default's.

    Patterns take no notice of case.  What is not among `destinations` is left out, as carbon does.  ValueError for a
    pattern that is no regular expression.
    """

    def all_known(keys: Sequence[str]) -> ConstantRouter:
        return ConstantRouter(key for key in keys if key in destinations)

    made = []
    for text, keys, goes_on in rules:
        try:
            pattern = re.compile(text, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {text!r}: {error}") from error
        made.append(Rule(pattern, all_known(keys), goes_on))
    return RuleRouter(made, all_known(default))


class ShardRouter:
    """statsrelay's group of virtual shards.  `keys` are the targets' keys of the backends as configured.

    Names come with the group's `prefix` and `suffix`; the hash is that of the name without them.
    """

    def __init__(
        self,
        shards: ShardMap,
        keys: Mapping[str, str] | None = None,
        prefix: bytes = b"",
        suffix: bytes = b"",
    ) -> None:
        self.shards = shards
        self._keys = tuple((keys or {}).get(backend, backend) for backend in shards.shards)
        self.targets = _each_once(self._keys)
        self._prefix, self._suffix = prefix, suffix
        routes = {key: (Choice((key,)),) for key in self.targets}
        self._routes = [routes[key] for key in self._keys]

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name; without shards nobody gets it."""
        return self._routes[self.shard(name)] if self._routes else ()

    def shard(self, name: str | bytes) -> int:
        """Return the shard of a name; ValueError without shards."""
        return self.shards.shard(name_bytes(name).removeprefix(self._prefix).removesuffix(self._suffix))

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        if not self._routes:
            return "no shards: nobody"
        shard = self.shard(name)
        return f"shard {shard} of {len(self.shards)}: {shown(self._routes[shard])}"


class SectionRouter:
    """Cadent's filters between sections: the targets are sections; `here` is the one that listens.

    A name that is rejected has no route.  Where `here` accumulates, it keeps what no filter matches.
    """

    def __init__(self, prereg: PreReg, here: str, accumulates: bool = False) -> None:
        self.prereg = prereg
        self.here = here
        self._accumulates = accumulates
        self.targets = _each_once((here, prereg.default_backend, *prereg.backends))
        self._routes = {key: (Choice((key,)),) for key in self.targets}

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        verdict = self._verdict(name)
        return () if verdict.rejected else self._routes[verdict.backend]

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        verdict = self._verdict(name)
        what = "rejected" if verdict.rejected else "stays" if verdict.backend == self.here else "redirected"
        return f"{verdict.filter or 'no filter'}: {what}" + (f" to {verdict.backend}" if what == "redirected" else "")

    def _verdict(self, name: str | bytes) -> Verdict:
        verdict = self.prereg.decide(_text(name))
        return Verdict(self.here) if self._accumulates and not verdict.filter else verdict


class PoolRouter:
    """Replaces each candidate of `router` by the least loaded of its pool: carbon's DESTINATION_POOL_REPLICAS.

    `pools` has the members by the candidate's key; a key that it does not have stays.
    """

    def __init__(self, router: Router, pools: Mapping[str, Sequence[str]]) -> None:
        self.router = router
        self._pools = {key: _each_once(members) for key, members in pools.items()}
        self.targets = _each_once(each for key in router.targets for each in self._pools.get(key, (key,)))
        self._routes: dict[Route, Route] = {}

    def route(self, name: str | bytes) -> Route:
        """Return the route of a name."""
        inner = self.router.route(name)
        route = self._routes.get(inner)
        if route is None:
            route = self._routes[inner] = tuple(dict.fromkeys(map(self._pooled, inner)))
        return route

    def _pooled(self, choice: Choice) -> Choice:
        if len(choice.candidates) == 1:
            (key,) = choice.candidates
            return Choice(self._pools.get(key, (key,)), balanced=key in self._pools)
        return choice._replace(pools=tuple(self._pools.get(key, (key,)) for key in choice.candidates))

    def explain(self, name: str | bytes) -> str:
        """Return for people what `route` says about a name, and why."""
        return f"{self.router.explain(name)}: {shown(self.route(name))}"
