"""The twistd row `statsd-proxy`: proxyConfig.js of statsd's cluster proxy in, a running relay out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from cadtwist.services.options import EXIT_LEGACY, loader, make

__all__ = ["Options", "makeService"]


class Options(usage.Options):
    """What `twistd statsd-proxy` understands."""

    optParameters = [["config", "c", "proxyConfig.js", "configuration file"]]


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 1 as node does."""
    return make(loader(options, "statsd-proxy"), options, EXIT_LEGACY)
