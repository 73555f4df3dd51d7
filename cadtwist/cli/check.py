"""`cadtwist check FILE`: says everything that is wrong with a configuration, and shows it as native TOML.

carbon's rule files (storage-schemas.conf, storage-aggregation.conf, whitelist.conf, blacklist.conf, relay-rules.conf,
rewrite-rules.conf, aggregation-rules.conf) can be checked alone.  Of a carbon.conf every section is checked.  Exit
status: 0 = usable (there may be warnings), 2 = not usable, or files of the store contradict it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TextIO

from cadtwist.config.errors import Problems, Weight
from cadtwist.config.load import DIALECTS, Examined, examine, programs_in, read_file, recognised
from cadtwist.config.model import Config
from cadtwist.config.relayrules import read_aggregates, read_relay_rules, read_rewrites
from cadtwist.config.rules import read_aggregation, read_patterns, read_schemas
from cadtwist.config.statsd import read_statsd
from cadtwist.config.statsite import read_statsite
from cadtwist.config.toml import to_toml

__all__ = ["EXIT_FAULTY", "CheckStore", "run"]

EXIT_FAULTY = 2


def _rewrites(text: str, path: str, problems: Problems) -> tuple[object, ...]:
    found = read_rewrites(text, path, problems)
    return (*found.before, *found.after)


RULE_FILES: dict[str, Callable[[str, str, Problems], tuple[object, ...]]] = {
    "storage-schemas": read_schemas,
    "storage-aggregation": read_aggregation,
    "whitelist": read_patterns,
    "blacklist": read_patterns,
    "relay-rules": lambda text, path, problems: read_relay_rules(text, path, None, problems),
    "rewrite-rules": _rewrites,
    "aggregation-rules": read_aggregates,
}
"""carbon's rule files by the beginning of their name: what reads each."""

DAEMON_FILES: dict[str, Callable[[str, str, Problems], object]] = {"statsd": read_statsd, "statsite": read_statsite}
"""Configurations of daemons that are no Config: what reads each."""

_STATSITE = re.compile(r"^\s*\[statsite\]", re.MULTILINE | re.IGNORECASE)

CheckStore = Callable[[Config], Iterable[str]]
"""Compares the files of a Config's store with its schemas; gives one line per file that differs."""


def run(
    argv: Sequence[str],
    stdout: TextIO = sys.stdout,
    environ: Mapping[str, str] = os.environ,
    check_store: CheckStore | None = None,
) -> int:
    """Check the file that `argv` (without the command's own name) asks for; return the exit status."""
    asked = _parser().parse_args(list(argv))
    kind = asked.dialect or _rule_kind(asked.file or "")
    if kind in RULE_FILES and asked.file:
        return _check_rules(kind, asked.file, stdout)
    kind = asked.dialect or _daemon_kind(asked.file or "")
    if kind in DAEMON_FILES and asked.file:
        return _check_daemon(kind, asked.file, stdout, shown=asked.print)
    programs = (f"carbon-{asked.program}",) if asked.program else _programs(asked)
    return max(_check(asked, program, stdout, environ, check_store) for program in programs)


def _programs(asked: argparse.Namespace) -> tuple[str, ...]:
    """Return the programs whose sections of a carbon.conf are to be checked: all of them, but one is printed."""
    found = programs_in(asked.file, asked.dialect) if asked.file and not asked.print else ()
    return found or ("",)


def _check(
    asked: argparse.Namespace,
    program: str,
    stdout: TextIO,
    environ: Mapping[str, str],
    check_store: CheckStore | None,
) -> int:
    """Check the file as the configuration of one program; return the exit status."""
    examined = examine(
        asked.file,
        dialect=asked.dialect,
        program=program,
        instance=asked.instance,
        environ=environ,
        overrides={"prereg": asked.prereg} if asked.prereg else None,
    )
    comments = "# " if asked.print and examined.loaded is not None else ""
    for report in examined.problems.reports:
        print(f"{comments}{report.weight}: {report}", file=stdout)
    if examined.loaded is None:
        print(_summary(examined), file=stdout)
        return EXIT_FAULTY
    if asked.print:
        print(to_toml(examined.loaded.config), file=stdout, end="")
        return 0
    differing = _store(examined.loaded.config, stdout, check_store) if asked.store else 0
    print(_summary(examined), file=stdout)
    return EXIT_FAULTY if differing else 0


def _rule_kind(path: str) -> str:
    """Return which of carbon's rule files `path` is by its name, empty if none."""
    name = os.path.basename(path)
    return next((kind for kind in RULE_FILES if name.startswith(kind)), "")


def _daemon_kind(path: str) -> str:
    """Return which of `DAEMON_FILES` a file is, empty if none."""
    try:
        text = read_file(path)
    except (OSError, ValueError):
        return ""
    if recognised(path, text):
        return ""
    return "statsd" if path.endswith(".js") else "statsite" if _STATSITE.search(text) else ""


def _check_daemon(kind: str, path: str, stdout: TextIO, shown: bool) -> int:
    problems = Problems()
    try:
        DAEMON_FILES[kind](read_file(path), path, problems)
    except (OSError, ValueError) as error:
        problems.error(path, 0, "", f"cannot be read: {error}")
    if shown:
        problems.error(path, 0, "", f"{kind} has a configuration of its own, which is not native TOML")
    for report in problems.reports:
        print(f"{report.weight}: {report}", file=stdout)
    print(f"{path}: {kind}, {'not ' if problems.failed else ''}usable: {_told(problems)}", file=stdout)
    return EXIT_FAULTY if problems.failed else 0


def _check_rules(kind: str, path: str, stdout: TextIO) -> int:
    problems = Problems()
    count = 0
    try:
        count = len(RULE_FILES[kind](read_file(path), path, problems))
    except (OSError, ValueError) as error:
        problems.error(path, 0, "", f"cannot be read: {error}")
    for report in problems.reports:
        print(f"{report.weight}: {report}", file=stdout)
    print(f"{path}: {kind}, {'not usable' if problems.failed else 'usable'}: {_counted(count, 'rule')}", file=stdout)
    return EXIT_FAULTY if problems.failed else 0


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist check", description="Check a configuration and name all faults.")
    parser.add_argument("file", nargs="?", help="the configuration (default: carbon's, from GRAPHITE_ROOT)")
    parser.add_argument("--print", action="store_true", help="print it as native TOML")
    parser.add_argument("--instance", default="a", help="instance of carbon.conf: [cache:NAME] (default: a)")
    parser.add_argument(
        "--program",
        choices=("cache", "relay", "aggregator", "aggregator-cache"),
        help="whose section of carbon.conf (default: each that is there; --print: the first)",
    )
    parser.add_argument("--prereg", metavar="FILE", help="Cadent's second file")
    parser.add_argument(
        "--dialect", choices=(*DIALECTS, *DAEMON_FILES, *RULE_FILES), help="how to read it (default: recognised)"
    )
    parser.add_argument("--store", action="store_true", help="also compare existing files with the schemas")
    return parser


def _told(problems: Problems) -> str:
    weights: tuple[Weight, ...] = ("error", "warning", "notice")
    return ", ".join(_counted(len(problems.texts(weight)), weight) for weight in weights)


def _summary(examined: Examined) -> str:
    told = _told(examined.problems)
    if examined.loaded is None:
        return f"not usable: {told}"
    program = examined.loaded.config.program
    section = f" [{program.removeprefix('carbon-')}]" if examined.loaded.dialect == "carbon" else ""
    return f"{examined.loaded.path}: {examined.loaded.dialect}{section}, usable: {told}"


def _store(config: Config, stdout: TextIO, check_store: CheckStore | None) -> int:
    if check_store is None:
        print("store: nothing here can read the files of the store", file=stdout)
        return 1
    lines = 0
    for line in check_store(config):
        lines += 1
        print(f"store: {line}", file=stdout)
    return lines
