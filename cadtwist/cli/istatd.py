"""The commands `istatd`, `istatd-server` and `istatd-agent`: istatd's own command line in front of twistd.

Exit statuses are istatd's: 1 for usage, configuration and pid file, 2 for what makes a start impossible.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import TextIO

from cadtwist.cli.carbon import alive
from cadtwist.cli.consolelog import LEVEL, STDERR, SYSLOG
from cadtwist.cli.foreground import RunTwistd, absolute, run_twistd
from cadtwist.config.errors import Problems
from cadtwist.config.istatd import COMMAND_LINE, DEFAULT_FILE, Istatd, config_path, read_istatd, usage
from cadtwist.config.istatmodel import IstatConfig, IstatdProcess
from cadtwist.config.load import read_file
from cadtwist.services.istattap import COMMAND, file_of

__all__ = ["main", "run"]

EXIT_USAGE, EXIT_START = 1, 2
DEFAULT_LOG = "istat.log"
_AT_START = ("must have at least one of a forward address", "is no IP address")
"""Faults that istatd meets only when it starts."""


def main() -> int:
    """Entry point of the console scripts."""
    return run(sys.argv[1:], sys.stderr, os.environ, run_twistd)


def run(argv: Sequence[str], stderr: TextIO, environ: MutableMapping[str, str], run_twistd: RunTwistd) -> int:
    """Start the daemon that `argv` asks for; return the exit status.

    `run_twistd` takes twistd's arguments and returns when the daemon has ended, or gone to the background.
    """
    if "--help" in argv:
        stderr.write(usage(Istatd(IstatConfig(), IstatdProcess())))
        return EXIT_USAGE
    path, arguments = config_path(argv)
    file = file_of(path)
    if not file:
        print(f"{DEFAULT_FILE}: not there; the command line alone counts", file=stderr)
    problems = Problems()
    found = read_istatd(_text(file, problems), file or DEFAULT_FILE, arguments, problems)
    if problems.failed:
        return _refused(problems, found, stderr)
    process = found.process
    pid = _running(process.pid_file)
    if pid is not None:
        print(f"{process.pid_file}: process {pid} is running already", file=stderr)
        return EXIT_USAGE
    environ[COMMAND], environ[LEVEL], environ[STDERR], environ[SYSLOG] = "1", "warn", "all", ""
    given = arguments if found.istat.log_file else (*arguments, "--log-file", absolute(DEFAULT_LOG))
    run_twistd(_twistd_arguments(process.daemonize, file, given))
    return 0


def _text(file: str, problems: Problems) -> str:
    try:
        return read_file(file) if file else ""
    except (OSError, ValueError) as error:
        problems.error(file, 0, "", f"cannot be read: {error}")
        return ""


def _refused(problems: Problems, found: Istatd, stderr: TextIO) -> int:
    """Tell all faults, and how it is done, where it is the command line that is at fault; return the status."""
    errors = problems.texts("error")
    print("\n".join(errors), file=stderr)
    if any(error.startswith(COMMAND_LINE) for error in errors):
        stderr.write(usage(found))
    starting = all(any(text in error for text in _AT_START) for error in errors)
    return EXIT_START if starting else EXIT_USAGE


def _running(path: str) -> int | None:
    """Return the process that a pid file names, None where none of that number is alive."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        pid = int(file.read(32))
        return pid if pid > 0 and pid != os.getpid() and alive(pid) else None
    return None


def _twistd_arguments(daemonize: bool, file: str, given: Sequence[str]) -> list[str]:
    reactor = "--reactor=epoll" if sys.platform == "linux" else "--reactor=default"
    arguments = ["--no_save", reactor, "--pidfile=", "--umask=022", "--logger=cadtwist.cli.consolelog.ConsoleLog"]
    config = [f"--config={absolute(file)}"] if file else []
    return [*arguments, *(() if daemonize else ("--nodaemon",)), "istat", *config, *given]
