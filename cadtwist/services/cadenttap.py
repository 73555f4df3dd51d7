"""The twistd row `cadent`: Cadent's pair of TOML files in, a running relay out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from cadtwist.services.options import loader, make

__all__ = ["EXIT_PANIC", "Options", "makeService"]

EXIT_PANIC = 2
"""What Cadent's panics over its configuration exit with."""


class Options(usage.Options):
    """What `twistd cadent` understands."""

    optParameters = [
        ["config", "c", "config.toml", "main configuration file"],
        ["prereg", None, None, "file with filters and accumulators"],
    ]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 2."""
    return make(loader(options, "cadent"), options, EXIT_PANIC)
