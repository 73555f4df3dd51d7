"""Lines over a stream: Graphite's and statsd's."""

from __future__ import annotations

from cadtwist.codec.line import Tail
from cadtwist.protocols.factory import Connection
from cadtwist.protocols.intake import Intake

__all__ = ["LineConnection"]


class LineConnection(Connection):
    """A stream of lines; nothing that is sent closes it."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self.state = Tail()
