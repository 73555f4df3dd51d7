"""Carbon's pickles over a stream of frames."""

from __future__ import annotations

from cadtwist.codec.frames import MAX_FRAME_BYTES, Frames
from cadtwist.protocols.factory import Connection
from cadtwist.protocols.intake import Intake

__all__ = ["FrameConnection", "PickleConnection"]


class FrameConnection(Connection):
    """A stream of frames; a header that announces more than `max_bytes` loses the framing, and so closes it."""

    state: Frames

    def __init__(self, intake: Intake, max_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(intake)
        self.state = Frames(max_bytes)

    @property
    def broken(self) -> bool:
        """Whether the framing is lost."""
        return self.state.lost


class PickleConnection(FrameConnection):
    """A stream of pickled datapoints; its intake has a `PickleCodec`."""
