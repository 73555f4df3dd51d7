"""One section of Cadent's TOML: its listener, how its lines are read, and its replica sets of servers."""

from __future__ import annotations

import re
from math import inf
from typing import cast, get_args
from urllib.parse import urlsplit

from msgspec.structs import replace

from cadtwist.config.model import Listener
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.relaymodel import (
    DestinationConfig,
    GroupConfig,
    HealthConfig,
    LineConfig,
    QueueConfig,
    QueuePolicy,
    RelayConfig,
)
from cadtwist.config.tree import Table

__all__ = ["BACKEND_ONLY", "IDLE_KEYS", "SECTION_KEYS", "CadentSection", "destination_of"]

BACKEND_ONLY = "backend_only"
_DEFAULT_LISTEN = "tcp://127.0.0.1:6000"
_RECYCLE_S = 300.0

_BLANKS = re.compile(r"[\x00-\x20\x7f]")
_HASHES = {
    **dict.fromkeys(("crc32", "crc"), "crc32"),
    **dict.fromkeys(("md5", "graphite"), "md5"),
    "sha1": "sha1",
    **dict.fromkeys(("fnv", "fnv32"), "fnv"),
    **dict.fromkeys(("fnva", "fnv32a"), "fnva"),
    **dict.fromkeys(("nodejs-hashring", "statsd"), "nodejs-hashring"),
    **dict.fromkeys(("mmh3", "mmh", "mmh32"), "mmh3"),
}
_ELTERS = {
    "graphite": "graphite",
    "statsd": "statsd",
    **dict.fromkeys(("simple", "consistent", "goconsistent"), "simple"),
}
_DOWN_POLICIES = ("keep", "ignore", "fail_key", "remove_node")
_LATER_TYPES = ("carbon2", "json", "opentsdb")

IDLE_KEYS: dict[str, str] = {
    "cache_items": "where a name goes is kept with the name, in the memory that all names share",
    "out_workers": "one process sends; num_procs starts more of them",
    "workers": "one process reads all connections; num_procs starts more of them",
    "write_timeout": "a server that takes no data is not given up: what is for it waits in its queue",
    "runner_timeout": "lines wait in the bounded queue of their server, and only there",
}
"""Keys of a section that do nothing, and why."""

SECTION_KEYS = (
    *IDLE_KEYS,
    *("hasher_algo", "hasher_elter", "hasher_vnodes", "num_dupe_replicas", "msg_type", "msg_regex", "timeLayout"),
    *("time_layout", "heartbeat_time_delay", "heartbeat_time_timeout", "failed_heartbeat_count", "server_down_policy"),
    *("sending_method", "max_pool_connections", "pool_buffersize", "read_buffer_size", "max_read_buffer_size"),
    *("internal_health_server_points", "spool_dir", "spool_bytes", "queue_policy"),
)
"""Keys that a section takes from `[default]`."""


class CadentSection:
    """Reads one table; `table` falls back on `[default]`."""

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.table = table
        self.destinations: dict[str, DestinationConfig] = {}
        self._queue = self._read_queue()
        self._health = self._read_health()
        self._single = False
        self._datagram_bytes = self._read_sending()
        self.listener = self._read_listener()
        self.lines = self._read_lines()
        self.groups = self._read_groups()
        for key, reason in IDLE_KEYS.items():
            table.has_no_effect(key, reason)
        self.read_buffer_bytes = table.whole("read_buffer_size", 1 << 20, "limits.udp_receive_bytes")
        self.history_points = table.whole("internal_health_server_points", 256, "ops.history_points")
        table.note_unknown(*SECTION_KEYS, "listen", "servers")

    @property
    def backend_only(self) -> bool:
        """True when it has no listener of its own."""
        return self.table.text("listen", inherit=False) == BACKEND_ONLY

    def relay(self) -> RelayConfig:
        """Return the section as a relay without filters."""
        return RelayConfig(name=self.name, lines=self.lines, groups=self.groups)

    def _read_listener(self) -> Listener | None:
        text = self.table.text("listen", _DEFAULT_LISTEN, inherit=False)
        if text == BACKEND_ONLY:
            return None
        to = (self.name,)
        scheme, _, rest = text.partition("://")
        if scheme == "unix" and rest:
            return Listener(protocol="line", transport="unix", path=rest, to=to)
        place, slash, path = rest.partition("/")
        address = host_and_port(place if not place.startswith(":") else f"everywhere{place}")
        if address is None or scheme not in ("tcp", "udp", "http"):
            expected = "tcp://host:port, udp://host:port, unix:///path, http://host:port/path or backend_only"
            self.table.error("listen", f"{text!r} is none of {expected}")
            return None
        host = "" if place.startswith(":") else address[0]
        if scheme == "http":
            where = f"{slash or '/'}{path}"
            return Listener(protocol="line", transport="http", interface=host, port=address[1], path=where, to=to)
        return Listener(
            protocol="line", transport="udp" if scheme == "udp" else "tcp", interface=host, port=address[1], to=to
        )

    def _read_lines(self) -> LineConfig:
        table = self.table
        kind = table.text("msg_type")
        layout = table.text("timeLayout", table.text("time_layout"))
        pattern = table.regex("msg_regex")
        if kind != "regex":
            for key in ("msg_regex", "timeLayout", "time_layout"):
                table.has_no_effect(key, "it is for msg_type = regex")
        if kind == "graphite":
            return LineConfig(cleaning="cadent")
        if kind == "regex":
            if not pattern:
                table.error("msg_regex", "is needed for msg_type = regex, with a group (?P<Key>...)")
                return LineConfig()
            return LineConfig(format="regex", regex=pattern, time_layout=layout)
        if kind in _LATER_TYPES:
            table.error(
                "msg_type", f"{kind!r} belongs to Cadent 0.4 and is not read; known are statsd, graphite, regex"
            )
        elif kind != "statsd":
            table.error("msg_type", f"{kind!r} is unknown; known are statsd, graphite, regex")
        return LineConfig(format="statsd", validate=False)

    def _read_queue(self) -> QueueConfig:
        table = self.table
        base = QueueConfig(policy="block")
        size = table.whole("max_read_buffer_size", base.max_bytes, "destinations.queue.max_bytes")
        spool = table.whole("spool_bytes", 1 << 30, "destinations.queue.spool_bytes")
        statsd = table.text("msg_type") == "statsd"
        policy = table.choice("queue_policy", get_args(QueuePolicy), "block")
        return QueueConfig(
            policy=cast("QueuePolicy", policy),
            max_bytes=size,
            spool_bytes=spool if table.text("spool_dir") else 0,
            resend_window_s=0.0 if statsd else base.resend_window_s,
            resend_window_bytes=0 if statsd else base.resend_window_bytes,
        )

    def _read_health(self) -> HealthConfig:
        table = self.table
        delay = table.number("heartbeat_time_delay", 30.0, "destinations.health.interval_s")
        timeout = table.number("heartbeat_time_timeout", 5.0, "destinations.health.timeout_s")
        if delay and delay < 2 * timeout:
            text = (
                f"{delay:g} s is less than twice heartbeat_time_timeout, {timeout:g} s: Cadent would not check at all"
            )
            table.error("heartbeat_time_delay", text)
        failures = table.whole("failed_heartbeat_count", 3, "destinations.health.failures")
        return HealthConfig(interval_s=delay, timeout_s=timeout, failures=failures)

    def _read_sending(self) -> int:
        """Return how many bytes of lines are joined."""
        table = self.table
        method = table.text("sending_method", "bufferedpool")
        size = table.whole("pool_buffersize", 512, "destinations.datagram_bytes")
        if method not in ("single", "pool", "bufferedpool"):
            table.source.warning(table.place("sending_method"), f"{method!r} is unknown: Cadent takes pool then")
        if method == "single":
            table.source.notice(table.place("sending_method"), "connections are kept: there is not one for each line")
            self._single = True
        return size if method == "bufferedpool" else 0

    def _read_groups(self) -> tuple[GroupConfig, ...]:
        table = self.table
        algorithm = table.text("hasher_algo", "mmh3")
        elter = table.text("hasher_elter", "simple")
        if algorithm not in _HASHES:
            table.source.warning(table.place("hasher_algo"), f"{algorithm!r} is unknown: Cadent takes crc32 then")
        if elter not in _ELTERS:
            table.source.warning(table.place("hasher_elter"), f"{elter!r} is unknown: Cadent takes graphite then")
        vnodes = self._read_vnodes()
        copies = table.whole("num_dupe_replicas", 1, "relays.groups.replication")
        given = [self._read_set(servers) for servers in table.tables("servers")]
        sets = [found for found in given if found is not None]
        if not any(members for members, _ in sets):
            if len(sets) == len(given):
                table.error("servers", "at least one [[servers]] with a server is needed")
            return ()
        fewest = min(len(members) for members, _ in sets if members)
        if copies > fewest:
            text = f"{copies} is more than the servers of the smallest set: {fewest}"
            table.source.warning(table.place("num_dupe_replicas"), text)
            copies = fewest
        removes = self._removes_dead()
        return tuple(
            GroupConfig(
                name=str(number),
                method="cadent",
                members=members,
                hash=_HASHES.get(algorithm, "crc32"),
                elter=_ELTERS.get(elter, "graphite"),
                vnodes=vnodes,
                hash_keys=keys,
                replication=copies,
                down_policy="remove_node" if removes else "keep",
            )
            for number, (members, keys) in enumerate(sets)
            if members
        )

    def _removes_dead(self) -> bool:
        """Return whether servers that are down leave the ring."""
        table = self.table
        policy = table.text("server_down_policy", "keep")
        if policy not in _DOWN_POLICIES:
            text = f"{policy!r} is unknown and means keep; known are {', '.join(_DOWN_POLICIES)}"
            table.source.warning(table.place("server_down_policy"), text)
        return policy == "remove_node"

    def _read_vnodes(self) -> int:
        table = self.table
        if table.whole("hasher_vnodes", 4) >= 1:
            return table.whole("hasher_vnodes", 4, "relays.groups.vnodes")
        table.source.warning(table.place("hasher_vnodes"), "less than 1: Cadent takes 1 then")
        return 1

    def _read_set(self, servers: Table) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the members of a replica set and their keys on the ring; None after noting why there is none."""
        given = servers.texts("servers")
        kept = [number for number, text in enumerate(given) if text.strip()]
        urls = [given[number].strip() for number in kept]
        keys = self._beside(servers, "hashkeys", given)
        checks = self._beside(servers, "check_servers", given)
        servers.note_unknown()
        if len(set(urls)) < len(urls):
            servers.error("servers", "a server is there twice")
            return None
        if len(set(keys)) < len(keys):
            servers.error("hashkeys", "a key is there twice")
            return None
        members = [f"{self.name}/{url}" for url in urls]
        made = zip(kept, urls, members, strict=True)
        good = [self._add(servers, name, url, checks[number].strip()) for number, url, name in made]
        return (tuple(members), tuple(keys[number] for number in kept)) if all(good) else None

    def _beside(self, servers: Table, key: str, given: tuple[str, ...]) -> tuple[str, ...]:
        """Return the list that has one entry for each server, the servers themselves where there is none."""
        found = servers.texts(key)
        if found and len(found) != len(given):
            servers.error(key, f"{len(found)} entries for {len(given)} servers")
            return given
        return found or given

    def _add(self, servers: Table, name: str, url: str, check: str) -> bool:
        made = destination_of(name, url)
        if made is None:
            expected = "tcp://host:port, udp://host:port, unix:///path or http://host/path"
            servers.error("servers", f"{url!r} is none of {expected}")
            return False
        if check.startswith("udp://") or (check == url and made.transport != "http"):
            check = ""
        connections = self.table.whole("max_pool_connections", 10, "destinations.connections")
        made = replace(
            made,
            connections=1 if self._single else connections,
            datagram_bytes=self._datagram_bytes,
            recycle_s=_RECYCLE_S if made.transport != "udp" else inf,
            check=check,
            health=self._health,
            queue=self._queue,
        )
        self.destinations.setdefault(name, made)
        return True


def destination_of(name: str, url: str) -> DestinationConfig | None:
    """Return the destination that a server's URL names, with everything else as by default; None if it names none."""
    scheme, _, rest = url.partition("://")
    if scheme in ("tcp", "udp"):
        found = host_and_port(rest.rstrip("/"))
        if found is None:
            return None
        return DestinationConfig(name=name, transport="udp" if scheme == "udp" else "tcp", host=found[0], port=found[1])
    if scheme == "unix" and rest and "\0" not in rest:
        return DestinationConfig(name=name, transport="unix", path=rest)
    if scheme in ("http", "https") and _has_host(url) and not _BLANKS.search(url):
        return DestinationConfig(name=name, transport="http", path=url)
    return None


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False
