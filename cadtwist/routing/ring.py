"""Hash rings, and the two lists that serve like one: which members hold a name, in order of preference.

A ring is a value: `adding` and `removing` return another one and leave this one as it is.  The rings differ in what
they hash for a member, in who keeps a position that two of them want, and in whether an exact hit counts:

| Ring | Hashed for point i | A taken position | First entry |
|---|---|---|---|
| `CarbonRing` | `('HOST', 'INSTANCE'):i`; fnv1a_ch `i-INSTANCE` | the next free one | at or after |
| `RelayRing` (carbon-c-relay) | the same; fnv1a_ch `i-HOST:PORT` or `i-INSTANCE` | the first by host | at or after |
| `CadentRing` | hashkey and i, in one of three ways | who came last | after |
| `KetamaRing` (statsd's proxy) | `HOST:PORT-i` | who came first | at or after |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cmp_to_key
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cadtwist.routing.hashes import (
    CARBON_HASHES,
    Hash,
    cadent_hash,
    carbon_ch,
    jump,
    ketama,
    relay_fnv1a_64,
    relay_fnv1a_ch,
    xorshift_star,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "CADENT_ELTERS",
    "CADENT_VNODES",
    "CARBON_POINTS",
    "KETAMA_POINTS",
    "CadentRing",
    "CarbonRing",
    "FastList",
    "JumpList",
    "KetamaRing",
    "Member",
    "Placement",
    "RelayRing",
    "Ring",
]

CARBON_POINTS = 100
KETAMA_POINTS = 40
CADENT_VNODES = 4

_CADENT_SCHEMES = ("udp://", "tcp://", "http://")


class Member(NamedTuple):
    """A destination as rings know it; `key` is how routes name it.

    `hashkey` is Cadent's text for the ring, the key unless told otherwise.
    """

    key: str
    host: str = ""
    port: int = 0
    instance: str | None = None
    hashkey: str = ""


class Placement(Protocol):
    """What places names on members."""

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by key, in the order in which they came."""

    def lookup(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of the first `count` members for a name: all, when there are fewer."""

    def ranked(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of all members, those first that `lookup` gives and then who stands in for them.

        There are few different answers, however many names there are.
        """

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""

    def adding(self, member: Member) -> Placement:
        """Return this placement with one more member, added last; ValueError when it cannot be told from another."""

    def removing(self, key: str) -> Placement:
        """Return this placement without a member; KeyError when it has none of that key."""


def _node_text(member: Member) -> str:
    """Return the text of a node as carbon hashes it: the printed form of a Python tuple, without the port."""
    return repr((member.host, member.instance))


class Ring(ABC):
    """Members at positions of a circle; a name belongs to the member whose entry comes first, clockwise from its hash.

    Invariant: `_positions` ascends without repetition, and `_owners[i]` is the key of the member at `_positions[i]`.
    """

    strictly_after = False
    """Whether an entry exactly at a name's position is passed over."""

    hash: Hash
    """Where on the circle a name stands."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self.members: dict[str, Member] = {}
        for member in members:
            self._admit(member)
        self._settle(self._placed({}, self.members.values()))

    def position(self, name: bytes) -> int:
        """Return where on the circle a name stands; in Cadent's words the `hash_value` of `/hashcheck`."""
        return self.hash(name)

    @abstractmethod
    def points(self, member: Member) -> list[int]:
        """Return the positions that a member asks for, in order."""

    @property
    def entries(self) -> list[tuple[int, str]]:
        """Every position that is taken, ascending, with the key of its member."""
        return list(zip(self._positions, self._owners[:-1], strict=True))

    def lookup(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of the first `count` members clockwise of a name: all, when there are fewer."""
        if not self._positions:
            return ()
        search = bisect_right if self.strictly_after else bisect_left
        start = search(self._positions, self.position(name))
        if count == 1:
            return self._alone[start]
        walk = self._walks.get((start, count))
        if walk is None:
            walk = self._walks[start, count] = self._walked(start, count)
        return walk

    def ranked(self, name: bytes, count: int = 1) -> tuple[str, ...]:  # noqa: ARG002 - one walk has them all
        """Return the keys of all members clockwise of a name: without some of them, the others follow the same way."""
        return self.lookup(name, max(len(self.members), 2))

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        position = self.position(name)
        if not self._positions:
            return f"position {position} of an empty ring"
        search = bisect_right if self.strictly_after else bisect_left
        entry = self._positions[search(self._positions, position) % len(self._positions)]
        return f"position {position}, entry at {entry}"

    def adding(self, member: Member) -> Self:
        """Return this ring with one more member, added last; ValueError when it cannot be told from another."""
        fresh = self._copied()
        known = len(fresh.members)
        fresh._admit(member)
        fresh._settle(fresh._placed(dict(self.entries), [member] if len(fresh.members) > known else []))
        return fresh

    def removing(self, key: str) -> Self:
        """Return this ring without a member; KeyError when it has none of that key."""
        fresh = self._copied()
        member = fresh.members.pop(key)
        fresh._settle(fresh._vacated(dict(self.entries), member))
        return fresh

    def _admit(self, member: Member) -> None:
        self.members.setdefault(member.key, member)

    def _placed(self, taken: dict[int, str], members: Iterable[Member]) -> dict[int, str]:
        """Return what is taken once `members` have been added to it, in order."""
        for member in members:
            for position in self.points(member):
                taken.setdefault(position, member.key)
        return taken

    def _vacated(self, taken: dict[int, str], member: Member) -> dict[int, str]:  # noqa: ARG002 - some rings need them
        """Return what is taken once `member` has left."""
        return self._placed({}, self.members.values())

    def _copied(self) -> Self:
        fresh = copy(self)
        fresh.members = dict(self.members)
        return fresh

    def _settle(self, taken: dict[int, str]) -> None:
        self._positions = sorted(taken)
        self._owners = [taken[position] for position in self._positions]
        self._owners += self._owners[:1]
        alone = {key: (key,) for key in self.members}
        self._alone = [alone[key] for key in self._owners]
        self._walks: dict[tuple[int, int], tuple[str, ...]] = {}

    def _walked(self, start: int, count: int) -> tuple[str, ...]:
        found: dict[str, None] = {}
        wanted, size = min(count, len(self.members)), len(self._positions)
        for step in range(size):
            if len(found) >= wanted:
                break
            found[self._owners[(start + step) % size]] = None
        return tuple(found)


class CarbonRing(Ring):
    """The ring of carbon's consistent hashing: 100 points a member, the order of members matters where they collide.

    ValueError for an unknown hash type, and for two members of equal host and instance.
    """

    def __init__(self, members: Iterable[Member] = (), hash_type: str = "carbon_ch") -> None:
        if hash_type not in CARBON_HASHES:
            raise ValueError(f"unknown hash type {hash_type!r}; known are {', '.join(CARBON_HASHES)}")
        self.hash_type = hash_type
        self.hash = CARBON_HASHES[hash_type]
        super().__init__(members)

    def points(self, member: Member) -> list[int]:
        """Return the positions that a member asks for, in order."""
        if self.hash_type == "fnv1a_ch":
            texts = [f"{i}-{member.instance}" for i in range(CARBON_POINTS)]
        else:
            texts = [f"{_node_text(member)}:{i}" for i in range(CARBON_POINTS)]
        return [self.hash(text.encode()) for text in texts]

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        return f"{self.hash_type} {super().describe(name)}"

    def _admit(self, member: Member) -> None:
        _refuse_twin(member, self.members)
        super()._admit(member)

    def _placed(self, taken: dict[int, str], members: Iterable[Member]) -> dict[int, str]:
        for member in members:
            for position in self.points(member):
                while position in taken:
                    position += 1
                taken[position] = member.key
        return taken

    def _vacated(self, taken: dict[int, str], member: Member) -> dict[int, str]:
        return {position: key for position, key in taken.items() if key != member.key}


def _refuse_twin(member: Member, members: Mapping[str, Member]) -> None:
    for other in members.values():
        if (other.host, other.instance) == (member.host, member.instance) and other.key != member.key:
            raise ValueError(f"destination instance ({member.host}, {member.instance}) already configured")


class RelayRing(Ring):
    """The rings of carbon-c-relay, `carbon_ch` and `fnv1a_ch`; the order of members does not matter."""

    def __init__(self, members: Iterable[Member] = (), hash_type: str = "carbon_ch") -> None:
        if hash_type not in ("carbon_ch", "fnv1a_ch"):
            raise ValueError(f"unknown hash type {hash_type!r}; known are carbon_ch, fnv1a_ch")
        self.hash_type = hash_type
        self.hash = carbon_ch if hash_type == "carbon_ch" else relay_fnv1a_ch
        super().__init__(members)

    def points(self, member: Member) -> list[int]:
        """Return the positions that a member asks for, in order."""
        if self.hash_type == "carbon_ch":
            texts = [f"{_node_text(member)}:{i}" for i in range(CARBON_POINTS)]
        else:
            text = f"{member.host}:{member.port}" if member.instance is None else member.instance
            texts = [f"{i}-{text}" for i in range(CARBON_POINTS)]
        return [self.hash(text.encode()) for text in texts]

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        return f"carbon-c-relay's {self.hash_type} {super().describe(name)}"

    def _placed(self, taken: dict[int, str], members: Iterable[Member]) -> dict[int, str]:
        for member in members:
            for position in self.points(member):
                holder = self.members[taken.get(position, member.key)]
                taken[position] = min(holder, member, key=self._precedence).key
        return taken

    def _precedence(self, member: Member) -> tuple[bytes, int, bytes]:
        host = member.host.encode()
        if self.hash_type == "fnv1a_ch":
            return (host, member.port, b"")
        return (host, member.instance is None, (member.instance or "").encode())


def _bare(hashkey: str) -> str:
    for scheme in _CADENT_SCHEMES:
        hashkey = hashkey.replace(scheme, "")
    return hashkey


def _colon_text(hashkey: str, point: int) -> str:
    return f"{_bare(hashkey)}:{point}"


def _dash_text(hashkey: str, point: int) -> str:
    return f"{_bare(hashkey)}-{point}"


def _leading_text(hashkey: str, point: int) -> str:
    return f"{point}{hashkey}"


CADENT_ELTERS: Mapping[str, Callable[[str, int], str]] = {
    "graphite": _colon_text,
    "statsd": _dash_text,
    "consistent": _leading_text,
    "goconsistent": _leading_text,
    "simple": _leading_text,
}
"""Cadent's `hasher_elter`: the text that is hashed for a hashkey's point."""


class CadentRing(Ring):
    """Cadent's ring: `algo` x `elter` x `vnodes` points for each member's hashkey.

    As in Cadent an unknown algo is crc32, an unknown elter is graphite's, fewer than 1 vnodes are 1; where positions
    collide the last comer has them, and a member that leaves takes with it all positions that it ever asked for.
    ValueError for two members of equal hashkey.
    """

    strictly_after = True

    def __init__(
        self,
        members: Iterable[Member] = (),
        algo: str = "mmh3",
        elter: str = "simple",
        vnodes: int = CADENT_VNODES,
    ) -> None:
        self.algo, self.elter, self.vnodes = algo, elter, max(vnodes, 1)
        self.hash = cadent_hash(algo)
        self._text = CADENT_ELTERS.get(elter, _colon_text)
        super().__init__(members)

    def points(self, member: Member) -> list[int]:
        """Return the positions that a member asks for, in order."""
        hashkey = member.hashkey or member.key
        return [self.hash(self._text(hashkey, i).encode()) for i in range(self.vnodes)]

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        return f"{self.algo}/{self.elter}/{self.vnodes} {super().describe(name)}"

    def _admit(self, member: Member) -> None:
        for other in self.members.values():
            if other.key != member.key and (other.hashkey or other.key) == (member.hashkey or member.key):
                raise ValueError(f"hashkey {member.hashkey or member.key} is already on the ring")
        super()._admit(member)

    def _placed(self, taken: dict[int, str], members: Iterable[Member]) -> dict[int, str]:
        for member in members:
            taken.update(dict.fromkeys(self.points(member), member.key))
        return taken

    def _vacated(self, taken: dict[int, str], member: Member) -> dict[int, str]:
        for position in self.points(member):
            taken.pop(position, None)
        return taken


class KetamaRing(Ring):
    """The ring of node's `hashring` as statsd's cluster proxy uses it: 40 points for each `HOST:PORT`.

    It computes that number anew for every number of members, and rounds down: of 7, 14, 28, 49 ... each has 39.
    """

    hash = staticmethod(ketama)

    def points(self, member: Member) -> list[int]:
        """Return the positions that a member asks for, in order."""
        share = 100 / (100 * len(self.members))  # their weights are 100, in floating point
        count = int(share * KETAMA_POINTS * len(self.members))
        return [ketama(f"{member.host}:{member.port}-{i}".encode()) for i in range(count)]

    def _placed(self, taken: dict[int, str], members: Iterable[Member]) -> dict[int, str]:  # noqa: ARG002
        """Return what is taken: one member more or less may give all others another number of points."""
        return super()._placed({}, self.members.values())

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        return f"hashring {super().describe(name)}"


class FastList:
    """carbon's fast-hashing: the members in the order of their hashes, begun at the name's hash modulo their number."""

    def __init__(self, members: Iterable[Member] = (), hash_type: str = "mmh3_ch") -> None:
        if hash_type not in CARBON_HASHES:
            raise ValueError(f"unknown hash type {hash_type!r}; known are {', '.join(CARBON_HASHES)}")
        self.hash_type = hash_type
        self.hash = CARBON_HASHES[hash_type]
        self.members: dict[str, Member] = {}
        for member in members:
            _refuse_twin(member, self.members)
            self.members.setdefault(member.key, member)
        self.order = sorted(self.members, key=lambda key: self.hash(_node_text(self.members[key]).encode()))
        self._turned = [tuple(self.order[start:] + self.order[:start]) for start in range(len(self.order))]

    def lookup(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of the first `count` members for a name: all, when there are fewer."""
        if not self.order:
            return ()
        return self._turned[self.hash(name) % len(self.order)][:count]

    def ranked(self, name: bytes, count: int = 1) -> tuple[str, ...]:  # noqa: ARG002 - as on a ring
        """Return the keys of all members for a name, in order."""
        return self.lookup(name, len(self.order))

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        return f"{self.hash_type} {self.hash(name)} of {len(self.order)} members"

    def adding(self, member: Member) -> FastList:
        """Return this list with one more member; ValueError when it cannot be told from another."""
        return FastList([*self.members.values(), member], self.hash_type)

    def removing(self, key: str) -> FastList:
        """Return this list without a member; KeyError when it has none of that key."""
        return FastList(_without(self.members, key), self.hash_type)


class JumpList:
    """carbon-c-relay's jump_fnv1a_ch: the members in order, chosen by the jump hash.

    Those with an instance come first, ordered as numbers where both are, else as text; then the others as configured.
    """

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self.members: dict[str, Member] = {}
        for member in members:
            self.members.setdefault(member.key, member)
        named = [member for member in self.members.values() if member.instance is not None]
        others = [member for member in self.members.values() if member.instance is None]
        self.order = [member.key for member in (*sorted(named, key=cmp_to_key(_by_instance)), *others)]

    def lookup(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of the first `count` members for a name: all, when there are fewer.

        Each further one is chosen by the next number after the hash, among those that are left: the last of the list
        has taken the place of the one chosen before.
        """
        digest = relay_fnv1a_64(name)
        if count == 1:
            return (self.order[jump(digest, len(self.order))],) if self.order else ()
        left, found = list(self.order), list[str]()
        following = xorshift_star(digest)
        while left and len(found) < count:
            bucket = jump(digest, len(left))
            found.append(left[bucket])
            left[bucket] = left[-1]
            left.pop()
            digest = next(following)
        return tuple(found)

    def ranked(self, name: bytes, count: int = 1) -> tuple[str, ...]:
        """Return the keys of all members: `count` and one to stand in as `lookup` gives them, the others in order."""
        chosen = self.lookup(name, count + 1)
        return chosen + tuple(key for key in self.order if key not in chosen)

    def describe(self, name: bytes) -> str:
        """Return for people how a name was placed."""
        if not self.order:
            return "no members"
        return f"jump hash, bucket {jump(relay_fnv1a_64(name), len(self.order))} of {len(self.order)}"

    def adding(self, member: Member) -> JumpList:
        """Return this list with one more member."""
        return JumpList([*self.members.values(), member])

    def removing(self, key: str) -> JumpList:
        """Return this list without a member; KeyError when it has none of that key."""
        return JumpList(_without(self.members, key))


def _by_instance(one: Member, other: Member) -> int:
    mine, theirs = one.instance or "", other.instance or ""
    if mine.isdecimal() and theirs.isdecimal():
        return (int(mine) > int(theirs)) - (int(mine) < int(theirs))
    return (mine.encode() > theirs.encode()) - (mine.encode() < theirs.encode())


def _without(members: Mapping[str, Member], key: str) -> list[Member]:
    if key not in members:
        raise KeyError(key)
    return [member for member in members.values() if member.key != key]
