"""Graphite lines over a stream."""

from __future__ import annotations

from cadtwist.codec.line import Tail
from cadtwist.protocols.factory import Connection
from cadtwist.protocols.intake import Intake

__all__ = ["LineConnection"]


class LineConnection(Connection):
    """A stream of `metric value timestamp` lines; nothing that is sent closes it."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self.state = Tail()
