"""The twistd row `cache` (and `carbon-cache`): carbon.conf in, a running cache out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from cadtwist.services.options import EXIT_LEGACY, CarbonOptions, loader, make

__all__ = ["Options", "makeService"]

Options = CarbonOptions


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as carbon does."""
    return make(loader(options, "carbon", program="carbon-cache"), options, EXIT_LEGACY)
