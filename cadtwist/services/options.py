"""Command line and start of the twistd rows: read the configuration, say what is wrong with it, build the graph."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import Options, UsageError

from cadtwist.config.load import Loaded, load
from cadtwist.config.model import Config
from cadtwist.errors import ConfigError
from cadtwist.services.descriptors import set_file_limit
from cadtwist.services.exits import EXIT_CONFIG, EXIT_LEGACY, fail_with
from cadtwist.services.reload import Load
from cadtwist.services.tlsneed import leave_tls_out, names_tls

__all__ = ["EXIT_CONFIG", "EXIT_LEGACY", "CarbonOptions", "NativeOptions", "loader", "make"]

_OVERRIDES = ("logdir", "whitelist", "blacklist", "rules", "aggregation-rules", "rewrite-rules", "pid-file", "prereg")
"""Options that stand in place of what the file says, or beside it."""


class CarbonOptions(Options):
    """What `twistd carbon-cache` understands, as carbon's own plugin does."""

    optParameters = [
        ["config", "c", None, "carbon.conf to use (default: conf/carbon.conf under GRAPHITE_ROOT)"],
        ["instance", None, "a", "name of this instance: section [cache:<name>], log, pid file and own metrics"],
        ["logdir", None, None, "folder of the log files (default: from the configuration)"],
        ["whitelist", None, None, "file of patterns: only what matches is accepted"],
        ["blacklist", None, None, "file of patterns: what matches is dropped"],
    ]
    optFlags = [["debug", None, "log debug messages"]]

    def parseArgs(self, *action: str) -> None:
        """Accept the word `start`, which carbon's scripts pass on."""
        if action not in ((), ("start",)):
            raise UsageError(f"Invalid action '{' '.join(action)}'")


class NativeOptions(Options):
    """What `twistd cadtwist` understands."""

    optParameters = [
        ["config", "c", "cadtwist.toml", "configuration: native TOML, or any dialect that is recognised"],
        ["instance", None, "a", "name of this instance, where the file does not say it"],
    ]


def loader(
    options: Mapping[str, Any], dialect: str | None, environ: Mapping[str, str] = os.environ, program: str = ""
) -> Load:
    """Return what loads the configuration of the command line, now and at each reload.

    `program` says whose section of a carbon.conf is meant.
    """
    overrides = {key.replace("-", "_"): options[key] for key in _OVERRIDES if options.get(key)}

    def again() -> Loaded:
        return load(
            options["config"],
            dialect=dialect,
            program=program,
            instance=options.get("instance") or "a",
            environ=environ,
            overrides=overrides,
        )

    return again


def make(load_again: Load, options: Any, status: int, start_status: int | None = None) -> IService:
    """Return the service that runs the configuration; with faults, print all of them and exit with `status`.

    `start_status` is the one of a start that fails, where it is another.
    """
    try:
        loaded = load_again()
    except ConfigError as error:
        fail_with(error.problems, status)
    if not names_tls(loaded.config):
        leave_tls_out()
    from twisted.internet import reactor  # noqa: PLC0415 (the reactor is chosen by twistd, after import)

    from cadtwist.services.daemonservice import DaemonService  # noqa: PLC0415 (it brings Twisted's sockets in)

    _allow_files(loaded.config, status)
    _become(options, loaded.config, status)
    return DaemonService(reactor, loaded, load_again, status if start_status is None else start_status)


def _allow_files(config: Config, status: int) -> None:
    """Set the limit of open files that a counter daemon asks for, while we may."""
    if config.istat is not None and config.istat.num_files:
        try:
            set_file_limit(config.istat.num_files)
        except (OSError, ValueError) as error:
            fail_with([f"num-files: {config.istat.num_files}: {error}"], status)


def _become(options: Any, config: Config, status: int) -> None:
    """Tell twistd to become the user of the configuration after it wrote its pid file, as carbon's option USER does.

    Folders of a counter daemon are made, and given to that user, as istatd does.
    """
    user = config.user
    if not user or getattr(options, "parent", None) is None or options.parent.get("uid") is not None:
        return
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        for folder in () if config.istat is None else config.istat.folders:
            os.makedirs(folder, exist_ok=True)
            os.chown(folder, found.pw_uid, found.pw_gid)
    except (KeyError, OSError) as error:
        fail_with([f"user: {user}: {error}"], status)
    options.parent["uid"], options.parent["gid"] = found.pw_uid, found.pw_gid
