"""The configuration of statsd and of statsite as typed values; sizes and times have their units in their names."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from cadtwist.model.statsdstyle import GraphiteNaming, StatsdStyle, StatsiteNaming, StatsiteStyle

__all__ = ["KeyFlush", "Peer", "StatsdConfig", "StatsdLog", "StatsdServer", "StatsiteConfig"]


class StatsdServer(Struct, frozen=True, kw_only=True):
    """A listener.  `socket` is the path of a unix socket (tcp only), `socket_mode` its permissions (-1: unset)."""

    transport: Literal["udp", "tcp"] = "udp"
    address: str = "0.0.0.0"  # noqa: S104 (statsd's default)
    ipv6: bool = False
    port: int = 8125
    socket: str = ""
    socket_mode: int = -1


class Peer(Struct, frozen=True):
    """Where packets are repeated to."""

    host: str
    port: int


class KeyFlush(Struct, frozen=True, kw_only=True):
    """The log of the most frequent keys; `interval_s` 0 = none.  `path` empty = the daemon's log."""

    interval_s: float = 0.0
    percent: float = 100.0
    path: str = ""


class StatsdLog(Struct, frozen=True, kw_only=True):
    """Where statsd's own log goes."""

    backend: Literal["stdout", "syslog"] = "stdout"
    application: str = "statsd"
    level: str = "LOG_INFO"


class StatsdConfig(Struct, frozen=True, kw_only=True):
    """statsd's config.js.

    `shown` is what the management command `config` answers, line by line.  Without `graphite_host` the graphite
    backend computes for nobody.
    """

    servers: tuple[StatsdServer, ...] = (StatsdServer(),)
    backends: tuple[str, ...] = ("graphite",)
    graphite_host: str = ""
    graphite_port: int = 2003
    graphite_pickle_port: int = 2004
    graphite_protocol: Literal["text", "pickle"] = "text"
    style: StatsdStyle = StatsdStyle()
    naming: GraphiteNaming = GraphiteNaming()
    sanitise_keys: bool = True
    key_flush: KeyFlush = KeyFlush()
    management_address: str = "0.0.0.0"  # noqa: S104 (statsd's default)
    management_port: int = 8126
    healthy: bool = True
    title: str = "statsd"
    console_prettyprint: bool = True
    log: StatsdLog = StatsdLog()
    debug: bool = False
    dump_messages: bool = False
    repeater: tuple[Peer, ...] = ()
    repeater_protocol: Literal["udp4", "udp6", "tcp"] = "udp4"
    reload: bool = True
    shown: tuple[str, ...] = ()


class StatsiteConfig(Struct, frozen=True, kw_only=True):
    """statsite's ini file.  A port of 0 is no listener; `set_error` is the relative error that large sets may have."""

    tcp_port: int = 8125
    udp_port: int = 8125
    udp_receive_bytes: int = 0
    bind_address: str = "::"
    parse_stdin: bool = False
    log_level: str = "DEBUG"
    log_facility: str = "local0"
    style: StatsiteStyle = StatsiteStyle()
    naming: StatsiteNaming = StatsiteNaming()
    timer_error: float = 0.01
    set_error: float = 0.02
    stream_command: str = "cat"
    binary_stream: bool = False
    prefix_binary_stream: bool = False
    daemonize: bool = False
    pid_file: str = "/var/run/statsite.pid"

    @property
    def precision(self) -> int:
        """The bits by which the registers of a set are chosen."""
        return min(18, max(4, math.ceil(math.log2((1.04 / self.set_error) ** 2))))
