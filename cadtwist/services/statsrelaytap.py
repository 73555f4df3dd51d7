"""The twistd row `statsrelay`: statsrelay's JSON in, a running relay out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from cadtwist.config.statsrelay import DEFAULT_PATH
from cadtwist.services.options import EXIT_LEGACY, loader, make

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """What `twistd statsrelay` understands; the whole command line is that of the command `statsrelay`."""

    optParameters = [
        ["config", "c", DEFAULT_PATH, "configuration file"],
        ["pid-file", "p", None, "file for the pid of the process that receives"],
    ]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as statsrelay does."""
    return make(loader(options, "statsrelay"), options, EXIT_LEGACY)
