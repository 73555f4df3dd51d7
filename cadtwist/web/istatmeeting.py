"""Graphite's paths and those of counters at one door.

Fixed paths of the API win; a counter of such a name is still answered by `POST /*`.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request

from cadtwist.web.istatsite import IstatResource
from cadtwist.web.site import Doors

__all__ = ["Meeting"]


class Meeting(Resource):
    """Gives a request to the API's doors where its path is theirs, else to the counters."""

    isLeaf = True

    def __init__(self, api: Doors, counters: IstatResource) -> None:
        super().__init__()
        self._api = api
        self._counters = counters

    def render(self, request: Request) -> int:
        """Answer a request of any method."""
        return self._api.render(request) if self._api.opens(request.path) else self._counters.render(request)
