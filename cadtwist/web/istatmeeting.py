"""Graphite's paths and those of counters at one door.

Fixed paths of the API win; a counter of such a name is still answered by `POST /*`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.web.resource import Resource
from twisted.web.server import Request

from cadtwist.web.istatsite import IstatResource

if TYPE_CHECKING:
    from cadtwist.web.site import Doors

__all__ = ["API_BEGINNINGS", "Meeting"]

API_BEGINNINGS = frozenset(
    b"render metrics functions tags events version browser _internal info ops ledger healthz readyz robots.txt"
    b" forcescan admin index dashboard".split()
)
"""First parts of the API's paths."""


class Meeting(Resource):
    """Gives a request to the API's doors where its path is theirs, else to the counters.

    `make_api()` makes the doors, when they are first asked: most counter daemons never are, and render is large.
    """

    isLeaf = True

    def __init__(self, make_api: Callable[[], Doors], counters: IstatResource) -> None:
        super().__init__()
        self._make_api = make_api
        self._counters = counters
        self._api: Doors | None = None

    def render(self, request: Request) -> int:
        """Answer a request of any method."""
        if request.path.strip(b"/").partition(b"/")[0] in API_BEGINNINGS:
            if self._api is None:
                self._api = self._make_api()
            if self._api.opens(request.path):
                return self._api.render(request)
        return self._counters.render(request)
