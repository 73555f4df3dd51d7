"""Starts a twistd row in this process and in the foreground, as the replaced programs without daemon mode run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from typing import Literal

from twisted.scripts import twistd

from cadtwist.cli.consolelog import FIRST, LEVEL, STDERR, SYSLOG

__all__ = ["RunTwistd", "absolute", "in_foreground", "run_twistd"]

RunTwistd = Callable[[list[str]], None]
"""Takes twistd's arguments, returns when the daemon has ended."""


def run_twistd(arguments: list[str]) -> None:
    """Become twistd."""
    sys.argv = ["twistd", *arguments]
    twistd.run()


def in_foreground(
    row: Sequence[str],
    environ: MutableMapping[str, str],
    run: RunTwistd,
    *,
    level: str,
    stderr: Literal["all", "error"],
    syslog: str = "",
    first: str = "",
) -> None:
    """Run the twistd row `row` (its name and its own arguments).

    `level` is the lowest that is logged; `syslog` the name under which it goes there as well, empty = it does not;
    `first` what the log begins with.
    """
    environ.update({LEVEL: level, STDERR: stderr, SYSLOG: syslog, FIRST: first})
    reactor = "--reactor=epoll" if sys.platform == "linux" else "--reactor=default"
    chosen = ["--nodaemon", "--no_save", reactor, "--pidfile=", "--logger=cadtwist.cli.consolelog.ConsoleLog"]
    run([*chosen, *row])


def absolute(path: str) -> str:
    """Return `path` as it is found from every working directory."""
    return os.path.abspath(os.path.expanduser(path))
