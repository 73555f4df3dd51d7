"""istatd's configuration file and command line: one grammar of options, every fault with its place.  Pure.

A line of the file is `--name value`, `name value` or `name = value`; the rest of the line is the value, of which one
pair of double quotes around is taken away.  `#` begins a comment line.  A flag stands alone.  The command line wins
over the file.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cadtwist.config.errors import Problems
from cadtwist.config.istatmodel import DEBUG_OPTIONS, IstatConfig
from cadtwist.config.istatoptions import ISTATD_OPTIONS, IstatdOption, option_named
from cadtwist.model.statretention import parse_stat_retentions

__all__ = ["COMMAND_LINE", "DEFAULT_FILE", "CommandLine", "config_path", "host_and_port", "load_istatd", "usage"]

DEFAULT_FILE = "istatd.cfg"
COMMAND_LINE = "command line"
_LINE = re.compile(r"(?:--)?([A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*|\s+|$)(.*)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")


class CommandLine(NamedTuple):
    """What the command line says: the configuration's path (None: not given) and the other arguments."""

    config: str | None
    arguments: tuple[str, ...]


class _Given(NamedTuple):
    option: IstatdOption
    value: str
    file: str
    line: int


def config_path(argv: Sequence[str]) -> CommandLine:
    """Take `--config FILE` out of the arguments; the last one counts."""
    path, rest, arguments = None, [], list(argv)
    while arguments:
        argument = arguments.pop(0)
        if argument == "--config" and arguments:
            path = arguments.pop(0)
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
        else:
            rest.append(argument)
    return CommandLine(path, tuple(rest))


def load_istatd(text: str, path: str, argv: Sequence[str], problems: Problems) -> IstatConfig:
    """Read a file's text (from `path`) and then the command line; the IstatConfig counts if no error is noted."""
    values: dict[str, Any] = {}
    places: dict[str, tuple[str, int]] = {}
    for given in (*_of_file(text, path, problems), *_of_arguments(argv, problems)):
        option = given.option
        if not option.field:
            problems.notice(given.file, given.line, option.name, f"has no effect: {option.doc}")
            continue
        value = _value(given, problems)
        if value is not None:
            values[option.field] = value
            places[option.field] = (given.file, given.line)
    config = IstatConfig(**values)
    _check(config, places, path, problems)
    return config


def usage(config: IstatConfig) -> str:
    """Return every option with its value and meaning, and the names for `--debug`."""
    lines = ["options, on the command line or as lines of the file given by --config:"]
    for option in ISTATD_OPTIONS:
        shown = f"  --{option.name}"
        if option.field and option.kind != "flag":
            value: Any = getattr(config, option.field)
            value = ",".join(value) if isinstance(value, tuple) else value
            shown += f" ({value // option.factor if option.factor > 1 else value})"
        lines.append(f"{shown:<44} {option.doc}" + (f" [{option.unit}]" if option.unit else ""))
    return "\n".join([*lines, "debug options: " + " ".join(DEBUG_OPTIONS)]) + "\n"


def host_and_port(text: str) -> tuple[str, int]:
    """Return the parts of `host:port` (an IPv6 address in brackets); ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(f"{text!r} is no host:port")
    return host, int(port)


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
    if option.kind == "text":
        return text
    if option.kind == "names":
        names = tuple(name for name in text.split(",") if name)
        unknown = [name for name in names if name not in DEBUG_OPTIONS]
        if unknown:
            problems.error(given.file, given.line, option.name, f"unknown: {', '.join(unknown)}")
            return None
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

    def error(field: str, text: str) -> None:
        name = next(option.name for option in ISTATD_OPTIONS if option.field == field)
        problems.error(*places.get(field, (path, 0)), name, text)

    try:
        parse_stat_retentions(config.retention)
    except ValueError as fault:
        error("retention", str(fault))
    for field in ("agent", "replica_of"):
        try:
            if getattr(config, field):
                host_and_port(getattr(config, field))
        except ValueError as fault:
            error(field, str(fault))
    try:
        if config.listen_address:
            ipaddress.ip_address(config.listen_address)
    except ValueError:
        error("listen_address", f"{config.listen_address!r} is no IP address")
    if config.replica_of and not config.store:
        error("replica_of", "a replica needs a store")
    if not config.store and not config.agent:
        problems.error(path, 0, "", "must have at least one of a forward address (agent) or a local store")
    ports = ("stat_port", "http_port", "admin_port", "replica_port", "prometheus_port")
    taken: dict[int, str] = {}
    for field in ports:
        port = getattr(config, field)
        if port and port in taken:
            error(field, f"port {port} is also that of {taken[port].replace('_', '-')}")
        taken[port] = field


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
