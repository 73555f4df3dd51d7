"""The command `cadent`: its own flags in front of twistd, in this process and in the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import TextIO

from cadtwist import __version__
from cadtwist.cli.foreground import RunTwistd, absolute, in_foreground, run_twistd
from cadtwist.config.load import examine

__all__ = ["main", "run"]

EXIT_USAGE = 1
EXIT_PANIC = 2
_FLAGS = {
    "config": "main configuration file (default config.toml)",
    "prereg": "file with filters and accumulators",
    "loglevel": "debug, info, warning, error or critical (default debug)",
    "version": "print the version",
}
_LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "error": "error", "critical": "critical"}
_LATER = ("logfile", "api", "injector")


def main() -> int:
    """Entry point of the console script."""
    return run(sys.argv, sys.stdout, sys.stderr, os.environ, run_twistd)


def run(
    argv: Sequence[str], stdout: TextIO, stderr: TextIO, environ: MutableMapping[str, str], run_twistd: RunTwistd
) -> int:
    """Do what `argv` (with the script's path first) asks for and return the exit status, as Cadent has them."""
    try:
        flags = _parsed(argv[1:])
    except ValueError as error:
        print(error, file=stderr)
        _tell_usage(stderr)
        return EXIT_PANIC
    if not flags or "help" in flags:
        _tell_usage(stderr)
        return EXIT_USAGE
    if "version" in flags:
        print(f"Cadent version {__version__} (cadtwist)\n", file=stdout)
        return 0
    level = flags.get("loglevel", "debug").lower()
    if level not in _LEVELS:
        print(f"invalid value {level!r} for flag -loglevel: known are {', '.join(_LEVELS)}", file=stderr)
        return EXIT_PANIC
    config, prereg = flags.get("config", "config.toml"), flags.get("prereg", "")
    problems = examine(config, dialect="cadent", overrides={"prereg": prereg}).problems.texts("error")
    if problems:
        print("\n".join(problems), file=stderr)
        return EXIT_PANIC
    row = ["cadent", f"--config={absolute(config)}"]
    row += [f"--prereg={absolute(prereg)}"] if prereg else []
    in_foreground(row, environ, run_twistd, level=_LEVELS[level], stderr="all")
    return 0


def _parsed(arguments: Sequence[str]) -> dict[str, str]:
    """Return the flags in Go's grammar (`-x v`, `-x=v`, one dash or two); ValueError for what is none."""
    found: dict[str, str] = {}
    waiting = list(arguments)
    while waiting and waiting[0].startswith("-") and waiting[0] not in ("-", "--"):
        argument = waiting.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        if name in _LATER:
            raise ValueError(f"the flag -{name} belongs to Cadent 0.4")
        if name in ("h", "help"):
            found["help"] = ""
        elif name not in _FLAGS:
            raise ValueError(f"flag provided but not defined: -{name}")
        elif name == "version":
            if value.lower() not in ("false", "f", "0"):
                found[name] = ""
        elif not equals and not waiting:
            raise ValueError(f"flag needs an argument: -{name}")
        else:
            found[name] = value if equals else waiting.pop(0)
    return found


def _tell_usage(stderr: TextIO) -> None:
    print("Usage of cadent:", file=stderr)
    for name, text in _FLAGS.items():
        print(f"  -{name:9} {text}", file=stderr)
