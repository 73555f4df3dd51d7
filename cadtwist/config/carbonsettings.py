"""The options of one instance of carbon.conf, typed by the table, and the files beside it."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, get_args

from msgspec import Struct

from cadtwist.config.carbonoptions import CARBON_OPTIONS
from cadtwist.config.carbonrelayoptions import METHODS
from cadtwist.config.carbonrow import LETTERS, CarbonOption, belongs_to, parse_value
from cadtwist.config.errors import Problems
from cadtwist.config.ini import Entry, IniFile
from cadtwist.config.model import Strategy
from cadtwist.config.options import fault_of
from cadtwist.config.relaymodel import HASHES, DestinationProtocol, QueuePolicy, WindowPlace

__all__ = ["CarbonSource", "Read", "RuleFiles", "Settings", "default_paths", "expanded", "merged"]

Read = Callable[[str], str]
_PORT_MAX = 65535
_CHOICES: dict[str, tuple[str, ...]] = {
    "RELAY_METHOD": tuple(METHODS),
    "ROUTER_HASH_TYPE": HASHES["carbon"],
    "DESTINATION_PROTOCOL": get_args(DestinationProtocol),
    "DESTINATION_TRANSPORT": ("none", "ssl"),
    "QUEUE_POLICY": get_args(QueuePolicy),
    "RESEND_WINDOW_IN": get_args(WindowPlace),
    "DATABASE": ("whisper", "ceres"),
    "CERES_NODE_CACHING_BEHAVIOR": ("all", "none"),
    "CERES_SLICE_CACHING_BEHAVIOR": ("latest", "all", "none"),
}
_LISTS = ("destinations.", "relays.")


class CarbonSource(Struct, frozen=True, kw_only=True):
    """What is known beside the text: its path, the instance, the environment, and the command line's files.

    `rules` are those of routes for a relay, of aggregation for an aggregator.
    """

    path: str
    environ: Mapping[str, str]
    instance: str = "a"
    program: str = "carbon-cache"
    logdir: str = ""
    whitelist: str = ""
    blacklist: str = ""
    rules: str = ""
    rewrite_rules: str = ""
    aggregation_rules: str = ""


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


def merged(ini: IniFile, source: CarbonSource, problems: Problems) -> dict[str, Entry]:
    """Lay `[cache:<instance>]` over `[cache]`, or what the program's section is; options by upper-case name."""
    section = source.program.removeprefix("carbon-")
    result: dict[str, Entry] = {}
    found = [ini.section(section), ini.section(f"{section}:{source.instance}")]
    if found == [None, None]:
        problems.warning(ini.path, 0, "", f"there is no section [{section}]: everything has its default")
    for part in found:
        if part is not None:
            result.update({name.upper(): entry for name, entry in part.entries.items()})
    return result


class Settings:
    """The options of this instance, typed by the table; each fault is noted once."""

    def __init__(self, source: CarbonSource, entries: dict[str, Entry], problems: Problems) -> None:
        self._letter = LETTERS[source.program]
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

    def text(self, name: str) -> str:
        """Return the text that was given for an option, empty where there is none."""
        return self._entries[name].value if name in self._entries else ""

    def targets(self) -> dict[str, Any]:
        """Return the values that go to the Config as they are, by their path there."""
        named = {CARBON_OPTIONS[name].target: value for name, value in self._values.items()}
        return {path: value for path, value in named.items() if path and not path.startswith(_LISTS)}

    def within(self, prefix: str) -> dict[str, Any]:
        """Return the values that every entry of a list gets, by their name: those whose path is `prefix` and a name."""
        named = {CARBON_OPTIONS[name].target: value for name, value in self._values.items()}
        found = {path.removeprefix(prefix): value for path, value in named.items() if path.startswith(prefix)}
        return {name: value for name, value in found.items() if "." not in name}

    def error(self, name: str, text: str) -> None:
        """Note a fault of the option `name`."""
        self._problems.error(self._source.path, self._line(name), name, text)

    def warning(self, name: str, text: str) -> None:
        """Note that the option `name` does not do what its author may think."""
        self._problems.warning(self._source.path, self._line(name), name, text)

    def _line(self, name: str) -> int:
        return self._entries[name].line if name in self._entries else 0

    def _take(self, row: CarbonOption, entry: Entry) -> None:
        if self._letter not in row.users and not row.reason:
            if not entry.inherited:
                self._problems.notice(self._source.path, entry.line, row.name, f"has no effect: {belongs_to(row)}")
            return
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
        if row.name == "WRITE_BACK_FREQUENCY" and value == 0:  # what carbon's documentation calls the default
            return
        if row.kind == "path":
            value = expanded(value, self._source.environ)
        if row.name.endswith("_CACHING_BEHAVIOR"):
            value = value.lower()
        fault = self._fault(row, value)
        if fault is not None:
            self.error(row.name, fault)
            return
        self._values[row.name] = value

    @staticmethod
    def _fault(row: CarbonOption, value: Any) -> str | None:
        if row.name == "CACHE_WRITE_STRATEGY" and value not in get_args(Strategy):
            return f"{value!r} is not a strategy; known are {', '.join(get_args(Strategy))}"
        if row.name in _CHOICES and value not in _CHOICES[row.name]:
            return f"{value!r} is unknown; known are {', '.join(_CHOICES[row.name])}"
        if row.name.endswith("_PORT") and not 0 <= value <= _PORT_MAX:
            return f"{value} is out of range, 0 to {_PORT_MAX}"
        return fault_of(row.target, value) if row.target else None

    def _warn_unknown(self, name: str, entry: Entry) -> None:
        if entry.inherited:
            return
        close = difflib.get_close_matches(name, CARBON_OPTIONS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        self._problems.warning(self._source.path, entry.line, name, f"unknown option, not used{hint}")


class RuleFiles:
    """The rule files beside carbon.conf; `folder` is CONF_DIR."""

    def __init__(self, source: CarbonSource, folder: str, read: Read, problems: Problems) -> None:
        self._source = source
        self._folder = folder
        self._read = read
        self._problems = problems

    def text(self, name: str, given: str = "", needed: bool = False) -> tuple[str, str]:
        """Return path and text of a file, empty where there is none; without a `needed` one there is an error.

        `given` is a path of the command line, relative to the working directory, in place of `name`.
        """
        path = expanded(given or posixpath.join(self._folder, name), self._source.environ)
        try:
            return path, self._read(path)
        except FileNotFoundError:
            if needed:
                self._problems.error(path, 0, "", "this file is required and does not exist")
        except (OSError, ValueError) as error:
            self._problems.error(path, 0, "", f"cannot be read: {error}")
        return path, ""
