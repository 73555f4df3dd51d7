"""istatd's configuration file and command line: one grammar of options, every fault with its place.  Pure.

A line of the file is `--name value`, `name value` or `name = value`; the rest of the line is the value, of which one
pair of double quotes around is taken away.  `#` begins a comment line.  A flag stands alone.  The command line wins
over the file.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cadtwist.config.arguments import without_option
from cadtwist.config.errors import Problems
from cadtwist.config.istatchecks import istat_faults
from cadtwist.config.istatmodel import DEBUG_OPTIONS, TOLD, IstatConfig, IstatdProcess
from cadtwist.config.istatoptions import ISTATD_OPTIONS, PROCESS, IstatdOption, option_named
from cadtwist.config.model import Config, SelfMetricsConfig, TagsConfig
from cadtwist.config.relaymodel import ProcessesConfig

__all__ = [
    "COMMAND_LINE",
    "DEFAULT_FILE",
    "CommandLine",
    "Istatd",
    "config_path",
    "load_istatd",
    "read_istatd",
    "usage",
]

DEFAULT_FILE = "istatd.cfg"
COMMAND_LINE = "command line"
_LINE = re.compile(r"(?:--)?([A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*|\s+|$)(.*)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")


class CommandLine(NamedTuple):
    """What the command line says: the configuration's path (None: not given) and the other arguments."""

    config: str | None
    arguments: tuple[str, ...]


class Istatd(NamedTuple):
    """What istatd's options say, of the counters and of the process."""

    istat: IstatConfig
    process: IstatdProcess


class _Given(NamedTuple):
    option: IstatdOption
    value: str
    file: str
    line: int


def config_path(argv: Sequence[str]) -> CommandLine:
    """Take `--config FILE` out of the arguments; the last one counts."""
    path, rest = without_option(argv, "--config")
    return CommandLine(path, tuple(rest))


def load_istatd(text: str, path: str, argv: Sequence[str], problems: Problems) -> Config:
    """Read a file's text (from `path`) and then the command line; the Config counts if no error is noted."""
    istat, process = read_istatd(text, path, argv, problems)
    return Config(
        program="istatd",
        user=process.user,
        self_metrics=SelfMetricsConfig(interval_s=0),
        tags=TagsConfig(enabled=False),
        processes=ProcessesConfig(pid_file=process.pid_file),
        istat=istat,
    )


def read_istatd(text: str, path: str, argv: Sequence[str], problems: Problems) -> Istatd:
    """Read the same as what istatd's own options are."""
    values: dict[str, Any] = {"files_dir": "files", "settings": "/tmp"}  # noqa: S108 (istatd's default)
    process: dict[str, Any] = {}
    places: dict[str, tuple[str, int]] = {}
    for given in (*_of_file(text, path, problems), *_of_arguments(argv, problems)):
        option = given.option
        if not option.field:
            problems.notice(given.file, given.line, option.name, f"has no effect: {option.doc}")
            continue
        value = _value(given, problems)
        if value is not None:
            into = process if option.field.startswith(PROCESS) else values
            field = option.field.removeprefix(PROCESS)
            into[field] = (*into.get(field, ()), value) if option.kind == "texts" else value
            places[option.field] = (given.file, given.line)
    for name in ("files_dir", "settings"):
        values[name] = _beside_the_store(values[name], values.get("store", ""))
    config = IstatConfig(**values)
    _check(config, places, path, problems)
    return Istatd(config, IstatdProcess(**process))


def usage(found: Istatd) -> str:
    """Return every option with its value and meaning, and the names for `--debug`."""
    lines = ["options, on the command line or as lines of the file given by --config:"]
    for option in ISTATD_OPTIONS:
        shown = f"  --{option.name}"
        if option.field and option.kind != "flag":
            holder = found.process if option.field.startswith(PROCESS) else found.istat
            value: Any = getattr(holder, option.field.removeprefix(PROCESS))
            value = ",".join(value) if isinstance(value, tuple) else value
            shown += f" ({value // option.factor if option.factor > 1 else value})"
        lines.append(f"{shown:<44} {option.doc}" + (f" [{option.unit}]" if option.unit else ""))
    return "\n".join([*lines, "debug options: " + " ".join(DEBUG_OPTIONS)]) + "\n"


def _of_file(text: str, path: str, problems: Problems) -> Iterator[_Given]:
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.error(path, number, "", f"{line[:60]!r} is no option")
            continue
        name, value = match.groups()
        yield from _given(name, _unquoted(value.strip()), bool(value.strip()), path, number, problems)


def _of_arguments(argv: Sequence[str], problems: Problems) -> Iterator[_Given]:
    arguments = list(argv)
    number = 0
    while arguments:
        argument, number = arguments.pop(0), number + 1
        if not argument.startswith("--") or argument == "--":
            problems.error(COMMAND_LINE, number, "", f"{argument[:60]!r} is no option")
            continue
        name, equals, value = argument[2:].partition("=")
        option = option_named(name)
        has_value = bool(equals)
        if not has_value and option is not None and option.kind != "flag" and arguments:
            value, has_value = arguments.pop(0), True
        yield from _given(name, value, has_value, COMMAND_LINE, number, problems)
        number += has_value and not equals


def _given(name: str, value: str, has_value: bool, file: str, line: int, problems: Problems) -> Iterator[_Given]:
    option = option_named(name)
    if option is None:
        names = [name for option in ISTATD_OPTIONS for name in (option.name, *option.aliases)]
        close = difflib.get_close_matches(name, names, n=1)
        problems.error(file, line, name, "unknown option" + (f"; did you mean {close[0]}?" if close else ""))
    elif option.kind == "flag":
        if has_value:
            problems.warning(file, line, name, f"stands alone: {value[:60]!r} is not read")
        yield _Given(option, "", file, line)
    elif not has_value:
        problems.error(file, line, name, "should have an argument")
    else:
        yield _Given(option, value, file, line)


def _value(given: _Given, problems: Problems) -> Any:
    """Return what a field becomes, None where the value is at fault."""
    option, text = given.option, given.value
    if option.kind == "flag":
        return option.sets
    if option.kind in ("text", "texts"):
        return text
    if option.kind == "names":
        names = tuple(name for name in text.split(",") if name)
        unknown = [name for name in names if name not in DEBUG_OPTIONS]
        if unknown:
            problems.error(given.file, given.line, option.name, f"unknown: {', '.join(unknown)}")
            return None
        silent = [name for name in names if name not in TOLD]
        if silent:
            text = f"has no effect: {', '.join(silent)}: is counted, and logged where it is a fault"
            problems.notice(given.file, given.line, option.name, text)
        return names
    if not _WHOLE.fullmatch(text) or not option.low <= int(text) <= option.high:
        problem = f"{text[:60]!r} does not fit, expected: a whole number from {option.low} to {option.high}"
        problems.error(given.file, given.line, option.name, problem)
        return None
    if option.name == "allocation-strategy":
        return "reserved" if int(text) == 1 else "sparse"
    return int(text) * option.factor


def _check(config: IstatConfig, places: dict[str, tuple[str, int]], path: str, problems: Problems) -> None:
    """Note what the values together, or by their grammar, cannot be."""
    names = {option.field: option.name for option in ISTATD_OPTIONS}
    for field, fault in istat_faults(config):
        problems.error(*places.get(field, (path, 0)), names.get(field, "") if field else "", fault)


def _beside_the_store(path: str, store: str) -> str:
    """Return a folder as istatd finds it: relative to the parent of its store, where it goes to."""
    return posixpath.join(posixpath.dirname(store.rstrip("/")), path) if store and "://" not in path else path


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
