"""statsite's lines and records over a stream."""

from __future__ import annotations

from cadtwist.codec.statsd import RecordTail
from cadtwist.protocols.factory import Connection
from cadtwist.protocols.intake import Intake

__all__ = ["RecordConnection"]


class RecordConnection(Connection):
    """A stream of statsite's lines and records; a faulty record closes it."""

    state: RecordTail

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self.state = RecordTail()

    @property
    def broken(self) -> bool:
        """Whether nothing more can be read of this stream."""
        return self.state.lost
