"""The twistd row `aggregator` (and `carbon-aggregator`): carbon.conf and aggregation rules in, an aggregator out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from cadtwist.services.options import EXIT_LEGACY, CarbonOptions, loader, make

__all__ = ["Options", "makeService"]


class Options(CarbonOptions):
    """What `twistd carbon-aggregator` understands, as carbon's own plugin does."""

    optParameters = [
        ["rules", None, None, "aggregation rules (default: AGGREGATION_RULES of the configuration)"],
        ["rewrite-rules", None, None, "rewrite rules (default: REWRITE_RULES of the configuration)"],
    ]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as carbon does."""
    return make(loader(options, "carbon", program="carbon-aggregator"), options, EXIT_LEGACY)
