"""carbon.conf with its rule files: the sections of cache, relay, aggregator and aggregator-cache.  Text in, Config out.

Pure: further files are read by the callable that is passed in, the environment is a mapping.  The options are the
rows of `config.carbonoptions`; syntax and typing are those of carbon (an INI file, see `config.ini`), but a value of
the wrong type is an error with its line, and so is a value out of range.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from msgspec.structs import replace

from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.assemble import assembled
from cadtwist.config.carbonoptions import CARBON_OPTIONS, DOORS
from cadtwist.config.carbonrelay import relay_values, rule_values
from cadtwist.config.carbonrow import LETTERS, Door
from cadtwist.config.carbonsettings import (
    CarbonSource,
    Read,
    RuleFiles,
    Settings,
    default_paths,
    expanded,
    merged,
)
from cadtwist.config.checks import faults
from cadtwist.config.errors import Problems
from cadtwist.config.ini import IniFile, read_ini
from cadtwist.config.model import CacheConfig, Config, Listener, Protocol, TlsConfig
from cadtwist.config.rules import read_aggregation, read_patterns, read_schemas

__all__ = ["CarbonSource", "Read", "default_paths", "expanded", "load_carbon", "programs_of"]

_SECTIONS = tuple(program.removeprefix("carbon-") for program in LETTERS)
_SECTION = re.compile(rf"({'|'.join(_SECTIONS)})(:.+)?")


def load_carbon(text: str, source: CarbonSource, read: Read, problems: Problems) -> Config:
    """Read the part of carbon.conf that is the program's; every fault is noted, and the Config only counts without."""
    ini = read_ini(text, source.path, problems)
    _note_unknown(ini, problems)
    settings = Settings(source, merged(ini, source, problems), problems)
    directories = _Directories(settings, source)
    files = RuleFiles(source, directories.conf, read, problems)
    letter = LETTERS[source.program]
    values = settings.targets()
    values.update(directories.values())
    values["listeners"] = _listeners(settings, letter)
    if letter in "CB":
        values.update(_schemas(files, problems))
    values.update(_lists(settings, source, files, problems))
    if letter in "RA":
        values.update(relay_values(settings, source, directories.storage, files, problems))
    if letter in "RAB":
        values.update(rule_values(settings, source, letter, files, problems))
    _note_refused(settings)
    config = assembled(_base(source, letter), values)
    for place, fault in faults(config):
        is_door = place[0] == "listeners" and len(place) == 2
        settings.error(_door_option(config.listeners[int(place[1])], fault) if is_door else _name_of(place), fault)
    return config


def programs_of(text: str) -> tuple[str, ...]:
    """Return the programs of which a text has a section, in the order of carbon's documentation."""
    sections = read_ini(text, "", Problems()).sections
    found = {match[1] for section in sections if (match := _SECTION.fullmatch(section.name)) is not None}
    return tuple(program for program in LETTERS if program.removeprefix("carbon-") in found)


def _base(source: CarbonSource, letter: str) -> Config:
    config = Config(program=source.program, instance=source.instance)
    if letter in "CB":
        config = replace(config, cache=CacheConfig())
    else:
        config = replace(config, stages=replace(config.stages, normalise_tags=False))
    return replace(config, aggregator=AggregatorConfig()) if letter in "AB" else config


def _name_of(place: tuple[str | int, ...]) -> str:
    """Return the option that sets the value at `place`, or what that is called in the Config."""
    path = ".".join(part for part in place if isinstance(part, str))
    if path == "relays.groups.members":
        return "DESTINATIONS"
    return next((row.name for row in CARBON_OPTIONS.values() if row.target == path), path)


def _door_option(door: Listener, fault: str) -> str:
    """Return the option that a fault of a listener is about."""
    if door.transport == "unix":
        return "UNIX_RECEIVER_PATH"
    protocol, is_udp = "http" if door.protocol == "ops" else door.protocol, door.transport == "udp"
    prefix = next(row.prefix for row in DOORS if (row.protocol, row.udp) == (protocol, is_udp))
    if door.transport == "endpoint":
        return f"{prefix}_ENDPOINT"
    return f"{prefix}_INTERFACE" if fault.startswith("interface") else f"{prefix}_PORT"


def _note_unknown(ini: IniFile, problems: Problems) -> None:
    for section in ini.sections:
        if not _SECTION.fullmatch(section.name):
            text = f"unknown section, not used (known are {', '.join(_SECTIONS)} and their instances)"
            problems.warning(ini.path, section.line, f"[{section.name}]", text)


class _Directories:
    """Folders, each from its option, the environment, or its parent's."""

    def __init__(self, settings: Settings, source: CarbonSource) -> None:
        self._settings = settings
        self._source = source
        own = posixpath.dirname(source.path) or "."
        self.conf: str = settings.get("CONF_DIR", expanded(own, source.environ))
        self.storage: str = settings.get("STORAGE_DIR", "") or self._default_storage()

    def _default_storage(self) -> str:
        environ = self._source.environ
        if environ.get("GRAPHITE_STORAGE_DIR"):
            return expanded(environ["GRAPHITE_STORAGE_DIR"], environ)
        if environ.get("GRAPHITE_ROOT"):
            return posixpath.join(expanded(environ["GRAPHITE_ROOT"], environ), "storage")
        data = self._settings.get("LOCAL_DATA_DIR", "")
        if data:
            return posixpath.dirname(data) or "."
        text = "is needed: set it, LOCAL_DATA_DIR, or GRAPHITE_STORAGE_DIR or GRAPHITE_ROOT in the environment"
        self._settings.error("STORAGE_DIR", text)
        return "."

    def values(self) -> dict[str, Any]:
        """Return the Config's folders by their path there."""
        source, storage = self._source, self.storage
        own = f"{source.program}-{source.instance}"
        logs = self._settings.get("LOG_DIR", posixpath.join(storage, "log", source.program))
        values = {
            "pid_directory": self._settings.get("PID_DIR", storage),
            "log.directory": source.logdir or posixpath.join(logs, own),
        }
        if LETTERS[source.program] in "CB":
            values["storage.root"] = self._settings.get("LOCAL_DATA_DIR", posixpath.join(storage, "whisper"))
        if LETTERS[source.program] in "CAB":
            values["wal.directory"] = self._settings.get("WAL_DIR", posixpath.join(storage, "wal", own))
        return values


def _listeners(settings: Settings, letter: str) -> tuple[Listener, ...]:
    found: list[Listener] = []
    for door in DOORS:
        if letter in door.users:
            found.extend(_of_door(settings, door, letter))
    path = settings.get("UNIX_RECEIVER_PATH", "")
    if path:
        found.append(Listener(protocol="line", transport="unix", path=path))
    return tuple(found)


def _of_door(settings: Settings, door: Door, letter: str) -> list[Listener]:
    interface = settings.get(f"{door.prefix}_INTERFACE", "0.0.0.0")  # noqa: S104 (carbon's default)
    port = settings.get(f"{door.prefix}_PORT", door.port)
    if door.udp:
        wanted = port and settings.get("ENABLE_UDP_LISTENER", False)
        return [Listener(protocol=door.protocol, transport="udp", interface=interface, port=port)] if wanted else []
    tls = _tls(settings, door)
    proxy = settings.get(f"{door.prefix}_PROXY_PROTOCOL", False)
    protocol: Protocol = "ops" if door.protocol == "http" and letter in "RA" else door.protocol
    found = []
    if port:
        found.append(Listener(protocol=protocol, interface=interface, port=port, tls=tls, proxy_protocol=proxy))
    endpoint = settings.get(f"{door.prefix}_ENDPOINT", "")
    if endpoint:
        found.append(
            Listener(protocol=protocol, transport="endpoint", endpoint=endpoint, tls=tls, proxy_protocol=proxy)
        )
    return found


def _tls(settings: Settings, door: Door) -> TlsConfig | None:
    certificate = settings.get(f"{door.prefix}_TLS_CERTIFICATE", "")
    key = settings.get(f"{door.prefix}_TLS_KEY", "")
    authority = settings.get(f"{door.prefix}_TLS_CLIENT_AUTHORITY", "")
    if certificate:
        return TlsConfig(certificate=certificate, key=key, client_authority=authority)
    for name, value in (("KEY", key), ("CLIENT_AUTHORITY", authority)):
        if value:
            settings.error(f"{door.prefix}_TLS_{name}", f"needs {door.prefix}_TLS_CERTIFICATE")
    return None


def _schemas(files: RuleFiles, problems: Problems) -> dict[str, Any]:
    schemas = files.text("storage-schemas.conf", needed=True)
    aggregation = files.text("storage-aggregation.conf")
    return {
        "schemas": read_schemas(schemas[1], schemas[0], problems),
        "aggregation": read_aggregation(aggregation[1], aggregation[0], problems),
    }


def _lists(settings: Settings, source: CarbonSource, files: RuleFiles, problems: Problems) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if settings.get("USE_WHITELIST", False):
        for name, given in (("whitelist", source.whitelist), ("blacklist", source.blacklist)):
            path, text = files.text(f"{name}.conf", given)
            values[f"stages.{name}"] = read_patterns(text, path, problems)
    elif source.whitelist or source.blacklist:
        settings.warning("USE_WHITELIST", "is off: the lists of the command line are not used")
    return values


def _note_refused(settings: Settings) -> None:
    for name, text in (
        ("USE_INSECURE_UNPICKLER", "refused for security: pickles are decoded without executing anything"),
        ("ENABLE_AMQP", "AMQP is not supported: nothing is read from the broker"),
        ("ENABLE_MANHOLE", "there is no manhole: nothing listens for it"),
    ):
        if settings.get(name, False):
            settings.warning(name, text)
