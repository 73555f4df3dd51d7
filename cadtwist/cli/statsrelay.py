"""The command `statsrelay`: its own command line in front of twistd, in this process and in the foreground."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Literal, TextIO

from cadtwist.cli.foreground import RunTwistd, absolute, in_foreground, run_twistd
from cadtwist.config.errors import Problems
from cadtwist.config.load import examine, read_file
from cadtwist.config.statsrelay import DEFAULT_PATH, NO_BACKENDS, load_statsrelay

__all__ = ["VERSION", "main", "run"]

VERSION = "2.6.3"
"""The version that is imitated, as arbiters and packages ask for it."""

_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARN": "warn", "ERROR": "error"}
_SHORT = "Svl:p:c:t:hV"
_LONG = ["no-syslog", "verbose", "log-level=", "pid=", "config=", "check-config=", "help", "version"]
_USAGE = f"""Usage: statsrelay [options]
  -c, --config=FILE        configuration to use (default: {DEFAULT_PATH})
  -t, --check-config=FILE  only check this configuration
  -p, --pid=FILE           file for the pid
  -l, --log-level=LEVEL    DEBUG, INFO, WARN or ERROR (default: INFO)
  -v, --verbose            log to stderr as well
  -S, --no-syslog          do not log to syslog
  -V, --version            print the version
  -h, --help               print this"""


def main() -> int:
    """Entry point of the console script."""
    return run(sys.argv, sys.stdout, sys.stderr, os.environ, run_twistd)


def run(
    argv: Sequence[str], stdout: TextIO, stderr: TextIO, environ: MutableMapping[str, str], run_twistd: RunTwistd
) -> int:
    """Do what `argv` (with the script's path first) asks for and return the exit status, as statsrelay has them."""
    script = os.path.basename(argv[0])
    try:
        found, _ = getopt.gnu_getopt(list(argv[1:]), _SHORT, _LONG)
    except getopt.GetoptError as error:
        print(f"{script}: {_complaint(error)}", file=stderr)
        print(f"{script}: Unknown argument ?", file=stderr)
        return 1
    options = dict(found)

    def given(short: str, long: str) -> str | None:
        return options.get(long, options.get(short))

    if given("-h", "--help") is not None:
        print(_USAGE, file=stdout)
        return 1
    if given("-V", "--version") is not None:
        print(f"statsrelay {VERSION}", file=stdout)
        return 0
    checked = given("-t", "--check-config")
    if checked is not None:
        return _check(checked, stderr)
    config = given("-c", "--config") or DEFAULT_PATH
    problems = examine(config, dialect="statsrelay").problems
    if problems.failed:
        _tell(problems, stderr)
        return 1
    level = _LEVELS.get((given("-l", "--log-level") or "INFO").upper(), "info")
    verbose = given("-v", "--verbose") is not None or level == "debug"
    pid_file = given("-p", "--pid")
    row = ["statsrelay", f"--config={absolute(config)}"]
    row += [f"--pid-file={absolute(pid_file)}"] if pid_file else []
    name = "" if given("-S", "--no-syslog") is not None else "statsrelay"
    shown: Literal["all", "error"] = "all" if verbose else "error"
    version = f"statsrelay {VERSION}"
    in_foreground(row, environ, run_twistd, level=level, stderr=shown, syslog=name, first=version)
    return 0


def _complaint(error: getopt.GetoptError) -> str:
    """Return what C's getopt says."""
    long = len(error.opt) > 1
    option = f"--{error.opt}" if long else error.opt
    if "requires argument" in error.msg:
        return f"option '{option}' requires an argument" if long else f"option requires an argument -- '{option}'"
    return f"unrecognized option '{option}'" if long else f"invalid option -- '{option}'"


def _check(path: str, stderr: TextIO) -> int:
    """Read a configuration only; one without backends passes."""
    problems = Problems()
    try:
        load_statsrelay(read_file(path), path, problems, checking=True)
    except (OSError, ValueError) as error:
        problems.error(path, 0, "", f"cannot be read: {error}")
    if problems.failed:
        _tell(problems, stderr)
    return 1 if problems.failed else 0


def _tell(problems: Problems, stderr: TextIO) -> None:
    faults = [report for report in problems.reports if report.weight == "error"]
    if [report.text for report in faults] == [NO_BACKENDS]:
        lines = [f"{NO_BACKENDS}, skipping", "failed to enable any backends"]
    else:
        lines = [*(str(report) for report in faults), "failed to parse config"]
    for line in lines:
        print(f"ERROR: {line}", file=stderr)
