"""The commands `carbon-cache`, `carbon-relay`, `carbon-aggregator` and `carbon-aggregator-cache`, also with `.py`.

Carbon's command line in front of twistd.

Existing unit files and init scripts go on working: `carbon-cache.py [options] start|stop|status`.  Messages and exit
statuses are carbon's.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.scripts import twistd
from zope.interface import implementer

from cadtwist.config.load import load
from cadtwist.errors import ConfigError

__all__ = ["StartLog", "alive", "cache", "run", "twistd_arguments"]

START_LOG = "CADTWIST_START_LOG"
ACTIONS = ("start", "stop", "status")
_OVERRIDES = ("logdir", "whitelist", "blacklist", "rules", "rewrite_rules")


def cache() -> int:
    """Entry point of the console scripts `carbon-cache` and `carbon-cache.py`."""
    return run("carbon-cache", sys.argv, sys.stdout, os.environ, _run_twistd)


def relay() -> int:
    """Entry point of the console scripts `carbon-relay` and `carbon-relay.py`."""
    return run("carbon-relay", sys.argv, sys.stdout, os.environ, _run_twistd)


def aggregator() -> int:
    """Entry point of the console scripts `carbon-aggregator` and `carbon-aggregator.py`."""
    return run("carbon-aggregator", sys.argv, sys.stdout, os.environ, _run_twistd)


def aggregator_cache() -> int:
    """Entry point of the console scripts `carbon-aggregator-cache` and `carbon-aggregator-cache.py`."""
    return run("carbon-aggregator-cache", sys.argv, sys.stdout, os.environ, _run_twistd)


def run(
    program: str,
    argv: Sequence[str],
    stdout: TextIO,
    environ: MutableMapping[str, str],
    run_twistd: Callable[[list[str]], None],
) -> int:
    """Do what `argv` (with the script's path first) asks for and return the exit status.

    `environ` gets GRAPHITE_ROOT when it is not set and the script lies in a `bin` folder, since twistd's options
    read it there, and `START_LOG`.  `run_twistd` takes twistd's arguments and returns when the daemon has ended (or
    gone away).
    """
    parser = _parser(program)
    asked = parser.parse_args(list(argv[1:]))
    actions: list[str] = asked.action
    if not actions:
        print(parser.format_usage(), end="", file=stdout)
        return 0
    if len(actions) > 1 or actions[0] not in ACTIONS:
        print(f"Invalid action '{' '.join(actions)}'", file=stdout)
        return 1
    _settle_root(argv[0], environ)
    try:
        loaded = load(
            asked.config,
            dialect="carbon",
            program=program,
            instance=asked.instance,
            environ=environ,
            overrides={key: value for key in _OVERRIDES if (value := getattr(asked, key, None))},
        )
    except ConfigError as error:
        print(error, file=stdout)
        return 1
    pid_path = asked.pidfile or os.path.join(loaded.config.pid_directory, f"{program}-{asked.instance}.pid")
    daemon = _Daemon(program, asked.instance, pid_path, stdout)
    if actions[0] == "stop":
        return daemon.stop()
    if actions[0] == "status":
        return daemon.status()
    if not daemon.may_start():
        return 1
    if loaded.config.log.directory:
        environ[START_LOG] = os.path.join(loaded.config.log.directory, "console.log")
    run_twistd(twistd_arguments(program, asked, pid_path))
    return 0


def twistd_arguments(program: str, asked: argparse.Namespace, pid_path: str) -> list[str]:
    """Return the twistd command line for a `start`, without the word twistd itself."""
    foreground = asked.debug or asked.nodaemon
    arguments = ["--no_save", "--reactor=epoll" if sys.platform == "linux" else "--reactor=default"]
    arguments += [f"--pidfile={pid_path}", f"--umask={asked.umask}"]
    if foreground:
        arguments.append("--nodaemon")
    arguments += [f"--{option}={value}" for option in ("profile", "profiler") if (value := getattr(asked, option))]
    if asked.syslog:
        arguments += ["--syslog", f"--prefix={program}-{asked.instance}[{os.getpid()}]"]
    elif asked.logger or asked.logfile:
        arguments += [f"--{option}={value}" for option in ("logger", "logfile") if (value := getattr(asked, option))]
    elif not foreground:
        arguments.append("--logger=cadtwist.cli.carbon.StartLog")
    arguments.append(program)
    if asked.debug:
        arguments.append("--debug")
    for option in ("config", "instance", *_OVERRIDES):
        value = getattr(asked, option, None)
        if value:
            path = value if option == "instance" else os.path.abspath(os.path.expanduser(value))
            arguments.append(f"--{option.replace('_', '-')}={path}")
    return arguments


@implementer(ILogObserver)
class StartLog:
    """twistd's observer of a daemon: keeps what is printed to stderr (why a start failed), and drops the rest.

    The service writes carbon's log files itself as soon as it runs.  The file is named by the environment variable
    `START_LOG`, since twistd makes its observer without arguments.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._path = environ.get(START_LOG, "")

    def __call__(self, event: LogEvent) -> None:
        """Append one event, if it was printed to stderr; a log that cannot be written stops nothing."""
        if event.get("log_namespace") != "stderr" or not self._path:
            return
        stamp = time.strftime("%d/%m/%Y %H:%M:%S", time.localtime(event.get("log_time")))
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(f"{stamp} :: {formatEvent(event)}\n")


def _run_twistd(arguments: list[str]) -> None:
    sys.argv = ["twistd", *arguments]
    twistd.run()


def _settle_root(script: str, environ: MutableMapping[str, str]) -> None:
    """Take the parent of the script's bin folder for GRAPHITE_ROOT, where the environment does not name one."""
    folder = os.path.dirname(os.path.abspath(script))
    if "GRAPHITE_ROOT" not in environ and os.path.basename(folder) == "bin":
        environ["GRAPHITE_ROOT"] = os.path.dirname(folder)


def _octal(text: str) -> str:
    int(text, 8)
    return text


def _parser(program: str) -> argparse.ArgumentParser:
    section = program.removeprefix("carbon-")
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [options] <start|stop|status>",
        description=f"carbon's command line for cadtwist's {section}.",
    )
    add: Callable[..., Any] = parser.add_argument
    add("action", nargs="*", help=argparse.SUPPRESS)
    add("--config", metavar="FILE", help="carbon.conf to use (default: conf/carbon.conf under GRAPHITE_ROOT)")
    add("--instance", metavar="NAME", default="a", help=f"section [{section}:NAME], pid file, logs (default: a)")
    add("--debug", action="store_true", help="foreground, with debug messages")
    add("--nodaemon", action="store_true", help="foreground")
    add("--syslog", action="store_true", help="log to syslog")
    add("--logdir", metavar="DIR", help="folder of the log files")
    add("--logfile", metavar="FILE", help="one log file, given to twistd")
    add("--logger", metavar="NAME", help="an observer's dotted name, given to twistd")
    add("--pidfile", metavar="FILE", help="pid file (default: in PID_DIR)")
    add("--umask", metavar="OCTAL", type=_octal, default="022", help="file creation mask (default: 022)")
    add("--whitelist", metavar="FILE", help="patterns of the names that are accepted")
    add("--blacklist", metavar="FILE", help="patterns of the names that are dropped")
    if program == "carbon-relay":
        add("--rules", metavar="FILE", help="relay rules (default: RELAY_RULES)")
    elif program != "carbon-cache":
        add("--rules", metavar="FILE", help="aggregation rules (default: AGGREGATION_RULES)")
        add("--rewrite-rules", metavar="FILE", help="rewrite rules (default: REWRITE_RULES)")
    add("--profile", metavar="FILE", help="record performance data, given to twistd")
    add("--profiler", metavar="NAME", help="the profiler, given to twistd")
    return parser


class _Daemon:
    """The pid file of one instance, and who is behind it."""

    def __init__(self, program: str, instance: str, pid_path: str, stdout: TextIO) -> None:
        self._name = f"{program} (instance {instance})"
        self._path = pid_path
        self._stdout = stdout

    def status(self) -> int:
        """Tell whether it runs: 0 or 1."""
        pid = self._pid()
        if pid is not None and alive(pid):
            self._say(f"{self._name} is running with pid {pid}")
            return 0
        self._say(f"{self._name} is not running")
        return 1

    def stop(self) -> int:
        """Send SIGTERM and do not wait."""
        if not os.path.exists(self._path):
            self._say(f"Pidfile {self._path} does not exist: nothing to stop")
            return 0
        pid = self._pid()
        if pid is None:
            self._say(f"Pidfile {self._path} holds no number")
            return 1
        self._say(f"Sending kill signal to pid {pid}")
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            self._say(f"There is no process with pid {pid}")
        except PermissionError as error:
            self._say(f"Not permitted: {error.strerror}")
            return 1
        return 0

    def may_start(self) -> bool:
        """Clear a stale pid file away and make its folder; False when the daemon must not be started."""
        if os.path.exists(self._path):
            pid = self._pid()
            if pid is None:
                self._say(f"Pidfile {self._path} holds no number; removing it")
                self._remove()
                return False
            if alive(pid):
                self._say(f"{self._name} is already running with pid {pid}")
                return False
            self._say(f"Removing stale pidfile {self._path}")
            self._remove()
        folder = os.path.dirname(self._path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        self._say(f"Starting {self._name}")
        return True

    def _pid(self) -> int | None:
        try:
            with open(self._path, encoding="ascii") as file:
                pid = int(file.read().strip())
        except (OSError, ValueError):
            return None
        return pid if pid > 0 else None

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _say(self, text: str) -> None:
        print(text, file=self._stdout, flush=True)


def alive(pid: int) -> bool:
    """Return whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True
