"""Routes: what a router decides about a name, before it is asked who is alive.

A route is a tuple of choices; each choice takes so many of its candidates, in their order, leaving out those that are
down.  So health never makes a name's route another one: `targets` turns the few routes that exist into destinations,
again whenever somebody goes or comes back.  On a ring this gives what the ring without the dead would give.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

__all__ = ["Choice", "Route", "RouteTable", "shown", "targets"]


class Choice(NamedTuple):
    """So many `copies` of a datapoint go to the first of the `candidates` that are live.

    `places`, if given, has the host of each candidate, and no host gets a datapoint twice.  Of a `balanced` choice
    those with the least load come first.  `pools`, if given, has those who share the load of each candidate: when it is
    taken, the live one of them that has the least load gets the datapoint in its place.
    """

    candidates: tuple[str, ...]
    copies: int = 1
    places: tuple[str, ...] = ()
    balanced: bool = False
    pools: tuple[tuple[str, ...], ...] = ()


Route = tuple[Choice, ...]


def targets(
    route: Route,
    live: Collection[str] | None = None,
    loads: Mapping[str, int] | None = None,
    hold: bool = True,
) -> tuple[str, ...]:
    """Return who gets the datapoints of a route, each once.

    `live` has the keys that are up (None: all are); `loads` their loads in any one unit, 0 where it tells none.  Where
    no candidate is live, its queue holds the datapoints (`hold`), or nobody gets them.
    """
    taken: dict[str, None] = {}
    for choice in route:
        taken.update(dict.fromkeys(_taken(choice, live, loads or {}, hold)))
    return tuple(taken)


def _taken(choice: Choice, live: Collection[str] | None, loads: Mapping[str, int], hold: bool) -> list[str]:
    ranked: Iterable[tuple[str, str]] = zip(choice.candidates, choice.places or choice.candidates, strict=True)
    if choice.balanced:
        ranked = sorted(ranked, key=lambda each: loads.get(each[0], 0))
    found: dict[str, str] = {}
    for key, place in ranked:
        if live is None or key in live:
            found.setdefault(place, key)
            if len(found) == choice.copies:
                break
    if not found and hold and live is not None:
        return _taken(choice, None, loads, hold)
    if choice.pools:
        pools = dict(zip(choice.candidates, choice.pools, strict=True))
        shared = ((key, Choice(pools[key], balanced=True)) for key in found.values())
        return [next(iter(_taken(pool, live, loads, False)), key) for key, pool in shared]
    return list(found.values())


def shown(route: Route) -> str:
    """Return a route for people."""
    return " and ".join(_shown_choice(choice) for choice in route) or "nobody"


def _shown_choice(choice: Choice) -> str:
    names = ", ".join(choice.candidates)
    if len(choice.candidates) == 1:
        return names
    which = "the first live" if choice.copies == 1 else f"the first {choice.copies} live"
    if choice.balanced:
        which = "the least loaded" if choice.copies == 1 else f"the {choice.copies} least loaded"
    apart = ", each on a host of its own" if choice.places and choice.copies > 1 else ""
    shared = ", or of its pool the least loaded" if choice.pools else ""
    return f"{which} of {names}{apart}{shared}"


class RouteTable:
    """The different routes of a router by small numbers, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._numbers: dict[Route, int] = {}
        self._routes: list[Route] = []

    def __len__(self) -> int:
        return len(self._routes)

    def number(self, route: Route) -> int:
        """Return the number of a route, a new one if need be."""
        number = self._numbers.setdefault(route, len(self._routes))
        if number == len(self._routes):
            self._routes.append(route)
        return number

    def route(self, number: int) -> Route:
        """Return the route of a number; IndexError for one that was not given."""
        return self._routes[number]

    def resolved(
        self,
        destinations: Mapping[str, int],
        live: Collection[str] | None = None,
        loads: Mapping[str, int] | None = None,
        hold: bool = True,
        since: int = 0,
    ) -> list[tuple[int, ...]]:
        """Return the destination numbers of each route from number `since`; arguments as those of `targets`.

        Keys that `destinations` does not have are left out.
        """
        return [
            tuple(destinations[key] for key in targets(route, live, loads, hold) if key in destinations)
            for route in self._routes[since:]
        ]
