"""The sockets between our processes carry frames: a big-endian 4-byte length and that many bytes."""

from __future__ import annotations

from struct import Struct as Layout

from twisted.internet.protocol import Protocol

__all__ = ["MAX_FRAME_BYTES", "FrameProtocol"]

MAX_FRAME_BYTES = 1 << 30
_LENGTH = Layout(">I")


class FrameProtocol(Protocol):
    """Cuts the stream into frames; one longer than MAX_FRAME_BYTES ends the connection.  Reactor thread."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if not self._buffer and _LENGTH.size <= len(data) == _LENGTH.size + _LENGTH.unpack_from(data)[0]:
            self.frameReceived(data[_LENGTH.size :])  # as it comes but for the large ones
            return
        self._buffer += data
        start, available = 0, len(self._buffer)
        while available - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME_BYTES:
                self._buffer.clear()
                self._leave()
                return
            end = start + _LENGTH.size + length
            if end > available:
                break
            with memoryview(self._buffer) as view:
                frame = bytes(view[start + _LENGTH.size : end])
            self.frameReceived(frame)
            start = end
        del self._buffer[:start]

    def frameReceived(self, frame: bytes) -> None:
        """Take one frame."""
        raise NotImplementedError

    def send_frame(self, frame: bytes) -> None:
        """Send one frame."""
        if self.transport is not None:
            self.transport.write(_LENGTH.pack(len(frame)) + frame)

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
