"""What hears packets as they came, beside what reads them: repeaters, and the log that `dumpMessages` asks for.

A packet is a datagram, or all lines of a read of a connection that are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.logger import Logger

from cadtwist.protocols.intake import Intake
from cadtwist.protocols.udp import DatagramIntake

__all__ = ["MessageLog", "PacketTap", "TappedDatagrams", "TappedStream"]


class PacketTap(Protocol):
    """Hears packets."""

    def packet(self, data: bytes) -> None:
        """Hear one packet."""


class MessageLog:
    """Logs every line."""

    _log = Logger()

    def packet(self, data: bytes) -> None:
        """Log the lines of a packet."""
        for line in data.split(b"\n"):
            if line:
                self._log.info("{line}", line=line.decode("utf-8", "replace"))


class TappedDatagrams(DatagramIntake):
    """An intake whose `taps` hear each datagram first."""

    taps: Iterable[PacketTap] = ()

    def datagrams(self, data: bytes, peer: Callable[[int], str], after: Callable[[int], int]) -> int:
        """Let the taps hear datagrams, each with one line feed more behind it, and read them."""
        start = 0
        while start < len(data):
            stop = max(after(start), start + 1)
            packet = data[start : stop - 1]
            for tap in self.taps:
                tap.packet(packet)
            start = stop
        return super().datagrams(data, peer, after)


class TappedStream(Intake):
    """An intake whose `taps` hear the complete lines of each read first."""

    taps: Iterable[PacketTap] = ()

    def feed(self, state: Any, data: bytes, peer: str) -> int:
        """Let the taps hear what is complete with `data`, and read it."""
        text = state.unread()[0] + data
        packet = text[: text.rfind(b"\n") + 1]
        if packet:
            for tap in self.taps:
                tap.packet(packet)
        return super().feed(state, data, peer)
