"""The twistd row `cadtwist`: native TOML in, any mixture of services in one process out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from cadtwist.services.options import EXIT_CONFIG, NativeOptions, loader, make

__all__ = ["Options", "makeService"]

Options = NativeOptions


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 2."""
    return make(loader(options, None), options, EXIT_CONFIG)
