"""Cadent's pair of TOML files: the sections with their servers, and the PreReg file.  Text in, Config out.  Pure.

`[default]` gives what a section does not say; every other table is a section.  Keys that Cadent does not know and we
do: `spool_dir` and `spool_max_bytes` (for all servers) and `wal_dir` (of accumulators) in `[default]`, `spool_bytes`
and `queue_policy` (for each server).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cadtwist.config.accumulatorchecks import writer_conflicts
from cadtwist.config.cadentprereg import PreRegs, Sections, read_prereg
from cadtwist.config.cadentsection import IDLE_KEYS, SECTION_KEYS, CadentSection
from cadtwist.config.checks import faults
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, LimitsConfig, Listener, LocalStatsConfig, SelfMetricsConfig, WalConfig
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.relaymodel import OpsConfig, ProcessesConfig, SpoolConfig, StatsdEmissionConfig
from cadtwist.config.tomllines import KeyPath, read_toml
from cadtwist.config.tree import Source, Table

__all__ = ["load_cadent"]

_LATER_TABLES = ("log", "system", "profile", "health", "statsd", "gossip", "servers")
_MOST_PROCESSES = 256
_TICK_S = 5.0
_FIELDS = {"members": "servers", "check": "servers", "interval_s": "heartbeat_time_delay", "regex": "msg_regex"}


def _nowhere(_: str) -> str:
    return ""


def load_cadent(
    text: str,
    path: str,
    problems: Problems,
    prereg: tuple[str, str] | None = None,
    instance: str = "a",
    state_of: Callable[[str], str] = _nowhere,
) -> Config:
    """Read the main file, and the PreReg file where its (path, text) is given; every fault is noted.

    The Config only counts if there is none.  `state_of(name)` is the folder where a daemon of that name keeps what
    accumulators have not told yet, unless `wal_dir` says otherwise; empty = nowhere.
    """
    tree, lines = read_toml(text, path, problems)
    if tree is None:
        return Config()
    source = Source(path, lines, problems)
    if not isinstance(tree.get("default"), dict):
        later = [name for name in _LATER_TABLES if isinstance(tree.get(name), dict)]
        hint = f"; [{later[0]}] belongs to Cadent 0.4, whose layout is not read" if later else ""
        source.error((), f"a table [default] is needed{hint}")
        return Config()
    default = Table(source, tree.pop("default"), ("default",))
    sections = [
        CadentSection(name, Table(source, table, (name,), default))
        for name, table in tree.items()
        if _is_table(source, name, table)
    ]
    return _Cadent(source, default, sections, instance, state_of).config(prereg, problems)


def _is_table(source: Source, name: str, table: Any) -> bool:
    if isinstance(table, dict):
        return True
    source.error((name,), "a table is expected: a section")
    return False


class _Cadent:
    """Joins the sections, `[default]` and the PreReg file."""

    def __init__(
        self,
        source: Source,
        default: Table,
        sections: list[CadentSection],
        instance: str,
        state_of: Callable[[str], str],
    ) -> None:
        self._source = source
        self._default = default
        self._sections = sections
        self._instance = instance
        self._state_of = state_of

    def config(self, prereg: tuple[str, str] | None, problems: Problems) -> Config:
        """Return everything as a Config; its contradictions are noted where they were written."""
        sections, default = self._sections, self._default
        if not any(not section.backend_only for section in sections):
            self._source.error((), "at least one section with a listener is needed")
        formats: dict[str, str] = {section.name: section.lines.format for section in sections}
        listening = tuple(section.name for section in sections if not section.backend_only)
        fronts = PreRegs({}, ())
        if prereg is not None:
            fronts = read_prereg(prereg[1], prereg[0], Sections(formats, listening), problems)
        relays = []
        for section in sections:
            front = fronts.fronts.get(section.name)
            relay = section.relay()
            relays.append(
                relay if front is None else replace(relay, filters=front.filters, default_relay=front.default_relay)
            )
        config = replace(
            self._process(bool(fronts.accumulators)),
            listeners=(*(section.listener for section in sections if section.listener is not None), *self._ops()),
            relays=tuple(relays),
            destinations=tuple(found for section in sections for found in section.destinations.values()),
            accumulators=fronts.accumulators,
        )
        default.note_unknown(*SECTION_KEYS)
        for place, fault in faults(replace(config, accumulators=())):  # their own faults are noted by now
            self._source.error(self._written(config, place), fault)
        for number, fault in writer_conflicts(config):
            problems.error(prereg[0] if prereg else "", 0, f"{config.accumulators[number].name}.accumulator", fault)
        return config

    def _process(self, accumulates: bool) -> Config:
        default = self._default
        profiles = default.flag("cpu_profile")
        for key, reason in IDLE_KEYS.items():
            default.has_no_effect(key, reason)
        default.has_no_effect("cpu_profile_rate", "the profiler of /debug/profile has a rate of its own", 0)
        default.has_no_effect("block_profile", "there are no locks to tell of", False)
        if profiles:
            text = "profiles are had from /debug/profile of internal_health_server_listen, on loopback only"
            self._source.notice(default.here("cpu_profile"), text)
        received = max((section.read_buffer_bytes for section in self._sections), default=1 << 20)
        points = max((section.history_points for section in self._sections), default=256)
        procs = max(default.whole("num_procs", 0), 1)
        if procs > _MOST_PROCESSES:
            text = f"{procs} is more than the {_MOST_PROCESSES} processes that there may be"
            self._source.warning(default.here("num_procs"), text)
        if accumulates and procs > 1:
            text = "has no effect: one process has all lines that are added up"
            self._source.notice(default.here("num_procs"), text)
            procs = 1
        return Config(
            program="cadent",
            instance=self._instance,
            limits=LimitsConfig(udp_receive_bytes=received),
            spool=SpoolConfig(
                directory=default.text("spool_dir") or SpoolConfig().directory,
                max_bytes=default.whole("spool_max_bytes", SpoolConfig().max_bytes, "spool.max_bytes"),
            ),
            wal=WalConfig(directory=default.text("wal_dir", self._state())),
            statsd_emission=StatsdEmissionConfig(
                server=default.text("statsd_server"),
                prefix=default.text("statsd_prefix"),
                interval_s=default.number("statsd_interval", 2.0, "statsd_emission.interval_s"),
                sample_rate=default.number("statsd_sample_rate", 1.0, "statsd_emission.sample_rate"),
                timer_sample_rate=default.number("statsd_timer_sample_rate", 1.0, "statsd_emission.timer_sample_rate"),
            ),
            ops=OpsConfig(
                history_points=points,
                page_directory=default.text("internal_health_server_path"),
                debug=profiles,
                log_stats_s=_TICK_S if default.flag("stats_tick") else 0.0,
            ),
            processes=ProcessesConfig(workers=min(procs, _MOST_PROCESSES), pid_file=default.text("pid_file")),
            self_metrics=SelfMetricsConfig(interval_s=0.0),
            local_stats=LocalStatsConfig(interval_s=0.0),
        )

    def _state(self) -> str:
        """Return the folder of state; no two daemons of a machine have the same first door."""
        door = next((section.listener for section in self._sections if section.listener is not None), None)
        if door is None:
            return ""
        place = door.path.strip("/").replace("/", "-") if door.transport == "unix" else f"{door.interface}-{door.port}"
        return self._state_of(f"cadent-{door.transport}-{place}")

    def _ops(self) -> tuple[Listener, ...]:
        text = self._default.text("internal_health_server_listen")
        if not text:
            return ()
        found = host_and_port(f"everywhere{text}" if text.startswith(":") else text)
        if found is None:
            self._default.error("internal_health_server_listen", f"{text!r} is not host:port")
            return ()
        return (Listener(protocol="ops", interface="" if text.startswith(":") else found[0], port=found[1]),)

    def _written(self, config: Config, place: tuple[str | int, ...]) -> KeyPath:
        """Return where the value at `place` in the Config was written."""
        if len(place) < 2 or not isinstance(place[1], int):
            return ("default", *((f"statsd_{place[-1]}",) if place[:1] == ("statsd_emission",) else ()))
        number = place[1]
        field = _FIELDS.get(str(place[-1]), str(place[-1])) if len(place) > 2 else ""
        if place[0] == "relays":
            return (config.relays[number].name, field)
        if place[0] == "destinations":
            return (config.destinations[number].name.partition("/")[0], field)
        to = config.listeners[number].to
        return (*to, "listen") if to else ("default", "internal_health_server_listen")
