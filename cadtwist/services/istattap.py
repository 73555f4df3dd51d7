"""The twistd row `istat`: istatd.cfg in, a running counter daemon out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from twisted.application.service import IService
from twisted.python.usage import Options as TwistedOptions

from cadtwist.config.errors import Problems
from cadtwist.config.istatd import DEFAULT_FILE, config_path, read_istatd
from cadtwist.config.load import Loaded, load, read_file
from cadtwist.services.options import EXIT_LEGACY, make

__all__ = ["COMMAND", "Options", "file_of", "makeService"]

EXIT_START = 2
COMMAND = "CADTWIST_ISTATD_COMMAND"
"""In the environment of what istatd's own commands start: they have done what the options say of the process."""

class Options(TwistedOptions):
    """What `twistd istat` understands: -c FILE, and behind it every option of istatd's own command line."""

    optParameters = [["config", "c", None, f"istatd's configuration file (default: {DEFAULT_FILE} if it is there)"]]

    def __init__(self) -> None:
        super().__init__()
        self.arguments: tuple[str, ...] = ()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Take -c and --config; the rest is read with the file."""
        given = ["--config" if part == "-c" else part for part in options or ()]
        if "--help" in given or "--version" in given:
            super().parseOptions(given)
        self["config"], self.arguments = config_path(given)


def file_of(path: str | None) -> str:
    """Return the file to read: the one that was named, else the default one if it is there, else none (empty)."""
    return path if path is not None else DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else ""


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1, a start that fails with 2."""
    return make(_loader(options["config"], options.arguments), options, EXIT_LEGACY, EXIT_START)


def _loader(path: str | None, arguments: Sequence[str]) -> Callable[[], Loaded]:
    def again() -> Loaded:
        loaded = load(file_of(path), dialect="istatd", arguments=arguments)
        notices = () if COMMAND in os.environ else _unused(loaded, arguments)
        return replace(loaded, notices=loaded.notices + notices)

    return again


def _unused(loaded: Loaded, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return what is to be said of an option that only istatd's own commands honour."""
    text = read_file(loaded.path) if loaded.files else ""
    unused = read_istatd(text, loaded.path, arguments, Problems()).process.daemonize
    text = f"{loaded.path}: daemonize: has no effect: twistd goes to the background unless --nodaemon"
    return (text,) if unused else ()
