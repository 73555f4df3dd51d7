"""The twistd row `relay` (and `carbon-relay`): carbon.conf in, a running relay out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from cadtwist.services.options import EXIT_LEGACY, CarbonOptions, loader, make

__all__ = ["Options", "makeService"]


class Options(CarbonOptions):
    """What `twistd carbon-relay` understands, as carbon's own plugin does."""

    optParameters = [
        ["rules", None, None, "relay rules (default: RELAY_RULES of the configuration)"],
        ["aggregation-rules", None, None, "aggregation rules (default: AGGREGATION_RULES of the configuration)"],
    ]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as carbon does."""
    return make(loader(options, "carbon", program="carbon-relay"), options, EXIT_LEGACY)
