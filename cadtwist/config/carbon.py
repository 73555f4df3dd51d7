"""carbon.conf, section `[cache]` and `[cache:<instance>]`, with its rule files: text in, Config out.

Pure: further files are read by the callable that is passed in, the environment is a mapping.  The options are the
rows of `config.carbonoptions`; syntax and typing are those of carbon (an INI file, see `config.ini`), but a value of
the wrong type is an error with its line, and so is a value out of range.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from msgspec import Struct

from cadtwist.config.assemble import assembled
from cadtwist.config.carbonoptions import CARBON_OPTIONS, DOORS, CarbonOption, Door, parse_value
from cadtwist.config.checks import faults
from cadtwist.config.errors import Problems
from cadtwist.config.ini import Entry, IniFile, read_ini
from cadtwist.config.model import CacheConfig, Config, Listener, Strategy, TlsConfig
from cadtwist.config.options import fault_of
from cadtwist.config.rules import read_aggregation, read_patterns, read_schemas

__all__ = ["CarbonSource", "Read", "default_paths", "expanded", "load_carbon"]

Read = Callable[[str], str]
_PROGRAMS = ("cache", "relay", "aggregator", "aggregator-cache")
_SECTION = re.compile(r"(cache|relay|aggregator|aggregator-cache)(:.+)?")
_PORT_MAX = 65535


class CarbonSource(Struct, frozen=True, kw_only=True):
    """What is known beside the text: its path, the instance, the environment, and the command line's files."""

    path: str
    environ: Mapping[str, str]
    instance: str = "a"
    program: str = "carbon-cache"
    logdir: str = ""
    whitelist: str = ""
    blacklist: str = ""


def default_paths(environ: Mapping[str, str]) -> list[str]:
    """Return where carbon.conf is looked for without `--config`, in order; none where no variable is set."""
    found = []
    if environ.get("GRAPHITE_CONF_DIR"):
        found.append(posixpath.join(expanded(environ["GRAPHITE_CONF_DIR"], environ), "carbon.conf"))
    if environ.get("GRAPHITE_ROOT"):
        found.append(posixpath.join(expanded(environ["GRAPHITE_ROOT"], environ), "conf", "carbon.conf"))
    return found


def expanded(path: str, environ: Mapping[str, str]) -> str:
    """Return `path` normalised, with a leading `~` as the home folder."""
    home = environ.get("HOME", "")
    if home and (path == "~" or path.startswith("~/")):
        path = home + path[1:]
    return posixpath.normpath(path) if path else path


def load_carbon(text: str, source: CarbonSource, read: Read, problems: Problems) -> Config:
    """Read the cache's part of carbon.conf; every fault is noted, and the Config only counts if there is none."""
    ini = read_ini(text, source.path, problems)
    settings = _Settings(source, _merged(ini, source, problems), problems)
    directories = _Directories(settings, source)
    values = settings.targets()
    values.update(directories.values())
    values["listeners"] = _listeners(settings)
    values.update(_Files(settings, source, directories.conf, read, problems).values())
    _note_refused(settings)
    base = Config(program=source.program, instance=source.instance, cache=CacheConfig())
    config = assembled(base, values)
    for place, fault in faults(config):
        settings.error(_name_of(place), fault)
    return config


def _name_of(place: tuple[str | int, ...]) -> str:
    """Return the option that sets the value at `place`, or what that is called in the Config."""
    path = ".".join(str(part) for part in place)
    return next((row.name for row in CARBON_OPTIONS.values() if row.target == path), str(place[0]))


def _merged(ini: IniFile, source: CarbonSource, problems: Problems) -> dict[str, Entry]:
    """Lay `[cache:<instance>]` over `[cache]`."""
    section = source.program.removeprefix("carbon-")
    for other in ini.sections:
        if not _SECTION.fullmatch(other.name):
            text = f"unknown section, not used (known are {', '.join(_PROGRAMS)} and their instances)"
            problems.warning(ini.path, other.line, f"[{other.name}]", text)
    merged: dict[str, Entry] = {}
    found = [ini.section(section), ini.section(f"{section}:{source.instance}")]
    if found == [None, None]:
        problems.warning(ini.path, 0, "", f"there is no section [{section}]: everything has its default")
    for part in found:
        if part is not None:
            merged.update({name.upper(): entry for name, entry in part.entries.items()})
    return merged


class _Settings:
    """The options of this instance, typed by the table; each fault is noted once."""

    def __init__(self, source: CarbonSource, entries: dict[str, Entry], problems: Problems) -> None:
        self._source = source
        self._entries = entries
        self._problems = problems
        self._values: dict[str, Any] = {}
        for name, entry in entries.items():
            row = CARBON_OPTIONS.get(name)
            if row is None:
                self._warn_unknown(name, entry)
            else:
                self._take(row, entry)

    def get(self, name: str, default: Any) -> Any:
        """Return the value of an option, `default` where it is not set."""
        return self._values.get(name, default)

    def targets(self) -> dict[str, Any]:
        """Return the values that go to the Config as they are, by their path there."""
        named = {CARBON_OPTIONS[name].target: value for name, value in self._values.items()}
        named.pop("", None)
        return named

    def error(self, name: str, text: str) -> None:
        """Note a fault of the option `name`."""
        self._problems.error(self._source.path, self._line(name), name, text)

    def warning(self, name: str, text: str) -> None:
        """Note that the option `name` does not do what its author may think."""
        self._problems.warning(self._source.path, self._line(name), name, text)

    def _line(self, name: str) -> int:
        return self._entries[name].line if name in self._entries else 0

    def _take(self, row: CarbonOption, entry: Entry) -> None:
        if (row.unset and entry.value.lower() in ("", "none")) or (row.kind == "path" and not entry.value):
            return
        try:
            value = parse_value(row.kind, entry.value)
        except ValueError as error:
            if row.reason:
                self._problems.notice(self._source.path, entry.line, row.name, f"has no effect: {row.reason}")
            else:
                self.error(row.name, str(error))
            return
        if row.reason:
            if value != row.harmless:
                self._problems.notice(self._source.path, entry.line, row.name, f"has no effect: {row.reason}")
            return
        if row.kind == "path":
            value = expanded(value, self._source.environ)
        fault = self._fault(row, value)
        if fault is not None:
            self.error(row.name, fault)
            return
        self._values[row.name] = value

    @staticmethod
    def _fault(row: CarbonOption, value: Any) -> str | None:
        if row.name == "CACHE_WRITE_STRATEGY" and value not in get_args(Strategy):
            return f"{value!r} is not a strategy; known are {', '.join(get_args(Strategy))}"
        if row.name == "DATABASE" and value != "whisper":
            return f"{value!r} is not supported; whisper is the only database"
        if row.name.endswith("_PORT") and not 0 <= value <= _PORT_MAX:
            return f"{value} is out of range, 0 to {_PORT_MAX}"
        return fault_of(row.target, value) if row.target else None

    def _warn_unknown(self, name: str, entry: Entry) -> None:
        if entry.inherited:
            return
        close = difflib.get_close_matches(name, CARBON_OPTIONS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        self._problems.warning(self._source.path, entry.line, name, f"unknown option, not used{hint}")


class _Directories:
    """Folders, each from its option, the environment, or its parent's."""

    def __init__(self, settings: _Settings, source: CarbonSource) -> None:
        self._settings = settings
        self._source = source
        own = posixpath.dirname(source.path) or "."
        self.conf: str = settings.get("CONF_DIR", expanded(own, source.environ))
        self._storage: str = settings.get("STORAGE_DIR", "") or self._default_storage()

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
        source, storage = self._source, self._storage
        own = f"{source.program}-{source.instance}"
        logs = self._settings.get("LOG_DIR", posixpath.join(storage, "log", source.program))
        return {
            "pid_directory": self._settings.get("PID_DIR", storage),
            "storage.root": self._settings.get("LOCAL_DATA_DIR", posixpath.join(storage, "whisper")),
            "log.directory": source.logdir or posixpath.join(logs, own),
            "wal.directory": self._settings.get("WAL_DIR", posixpath.join(storage, "wal", own)),
        }


def _listeners(settings: _Settings) -> tuple[Listener, ...]:
    found: list[Listener] = []
    for door in DOORS:
        found.extend(_of_door(settings, door))
    path = settings.get("UNIX_RECEIVER_PATH", "")
    if path:
        found.append(Listener(protocol="line", transport="unix", path=path))
    return tuple(found)


def _of_door(settings: _Settings, door: Door) -> list[Listener]:
    interface = settings.get(f"{door.prefix}_INTERFACE", "0.0.0.0")  # noqa: S104 (carbon's default)
    port = settings.get(f"{door.prefix}_PORT", door.port)
    if door.udp:
        wanted = port and settings.get("ENABLE_UDP_LISTENER", False)
        return [Listener(protocol=door.protocol, transport="udp", interface=interface, port=port)] if wanted else []
    tls = _tls(settings, door)
    proxy = settings.get(f"{door.prefix}_PROXY_PROTOCOL", False)
    found = []
    if port:
        found.append(Listener(protocol=door.protocol, interface=interface, port=port, tls=tls, proxy_protocol=proxy))
    endpoint = settings.get(f"{door.prefix}_ENDPOINT", "")
    if endpoint:
        found.append(
            Listener(protocol=door.protocol, transport="endpoint", endpoint=endpoint, tls=tls, proxy_protocol=proxy)
        )
    return found


def _tls(settings: _Settings, door: Door) -> TlsConfig | None:
    certificate = settings.get(f"{door.prefix}_TLS_CERTIFICATE", "")
    key = settings.get(f"{door.prefix}_TLS_KEY", "")
    authority = settings.get(f"{door.prefix}_TLS_CLIENT_AUTHORITY", "")
    if certificate:
        return TlsConfig(certificate=certificate, key=key, client_authority=authority)
    for name, value in (("KEY", key), ("CLIENT_AUTHORITY", authority)):
        if value:
            settings.error(f"{door.prefix}_TLS_{name}", f"needs {door.prefix}_TLS_CERTIFICATE")
    return None


class _Files:
    """The rule files beside carbon.conf."""

    def __init__(self, settings: _Settings, source: CarbonSource, folder: str, read: Read, problems: Problems) -> None:
        self._settings = settings
        self._source = source
        self._folder = folder
        self._read = read
        self._problems = problems

    def values(self) -> dict[str, Any]:
        """Return rules and lists by their path in the Config."""
        schemas = self._text("storage-schemas.conf", required=True)
        aggregation = self._text("storage-aggregation.conf")
        values: dict[str, Any] = {
            "schemas": read_schemas(schemas[1], schemas[0], self._problems),
            "aggregation": read_aggregation(aggregation[1], aggregation[0], self._problems),
        }
        if self._settings.get("USE_WHITELIST", False):
            for name, given in (("whitelist", self._source.whitelist), ("blacklist", self._source.blacklist)):
                path, text = self._text(f"{name}.conf", given)
                values[f"stages.{name}"] = read_patterns(text, path, self._problems)
        elif self._source.whitelist or self._source.blacklist:
            self._settings.warning("USE_WHITELIST", "is off: the lists of the command line are not used")
        return values

    def _text(self, name: str, given: str = "", required: bool = False) -> tuple[str, str]:
        path = expanded(given or posixpath.join(self._folder, name), self._source.environ)
        try:
            return path, self._read(path)
        except FileNotFoundError:
            if required:
                self._problems.error(path, 0, "", "this file is required and does not exist")
        except (OSError, ValueError) as error:
            self._problems.error(path, 0, "", f"cannot be read: {error}")
        return path, ""


def _note_refused(settings: _Settings) -> None:
    for name, text in (
        ("USE_INSECURE_UNPICKLER", "refused for security: pickles are decoded without executing anything"),
        ("ENABLE_AMQP", "AMQP is not supported: nothing is read from the broker"),
        ("ENABLE_MANHOLE", "there is no manhole: nothing listens for it"),
    ):
        if settings.get(name, False):
            settings.warning(name, text)
