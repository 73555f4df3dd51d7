"""The twistd row `carbon-aggregator-cache`: an aggregator and a cache in one process."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from cadtwist.services.aggregatortap import Options
from cadtwist.services.options import EXIT_LEGACY, loader, make

__all__ = ["Options", "makeService"]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as carbon does."""
    return make(loader(options, "carbon", program="carbon-aggregator-cache"), options, EXIT_LEGACY)
