"""The twistd row `istat`: istatd.cfg in, a running counter daemon out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import Options as TwistedOptions

from cadtwist.config.errors import Problems
from cadtwist.config.istatd import DEFAULT_FILE, config_path, load_istatd
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.load import read_file
from cadtwist.errors import CadtwistError
from cadtwist.services.istat import IstatDaemon
from cadtwist.services.options import EXIT_LEGACY, fail_with

__all__ = ["Options", "load_config", "makeService"]


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


def load_config(path: str | None, arguments: Sequence[str]) -> tuple[IstatConfig, Problems]:
    """Read the file and the command line; a default file that is missing is no fault."""
    problems = Problems()
    text = ""
    try:
        text = read_file(path or DEFAULT_FILE)
    except FileNotFoundError:
        if path is not None:
            problems.error(path, 0, "", "no such file")
    except (OSError, ValueError) as error:
        problems.error(path or DEFAULT_FILE, 0, "", f"cannot be read: {error}")
    return load_istatd(text, path or DEFAULT_FILE, arguments, problems), problems


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as istatd does."""
    config, problems = load_config(options["config"], options.arguments)
    if problems.failed:
        fail_with(problems.texts("error"), EXIT_LEGACY)
    from twisted.internet import reactor  # noqa: PLC0415 (the reactor is chosen by twistd, after import)

    try:
        return IstatDaemon(reactor, config).service
    except (CadtwistError, OSError) as error:
        fail_with([str(error)], EXIT_LEGACY + 1)
