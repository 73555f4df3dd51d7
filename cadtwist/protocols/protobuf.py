"""Carbon's protobuf messages over a stream of frames."""

from __future__ import annotations

from cadtwist.protocols.carbonpickle import FrameConnection

__all__ = ["ProtobufConnection"]


class ProtobufConnection(FrameConnection):
    """A stream of protobuf Payloads; its intake has a `ProtobufCodec`."""
