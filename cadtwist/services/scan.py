"""Lists the metrics that have files, in a process of its own: the ingesting one has no time for folders.

`python -m cadtwist.services.scan ROOT` writes frames to its standard output, each a number of names n (u32), the bytes
of all names (u32), n + 1 offsets (u32, little-endian as numbers in memory) and the names one after the other.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from twisted.application.service import Service
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.storage.tree import walk_tree

__all__ = ["FileScan", "encode_names", "main"]

_HEAD = struct.Struct("<II")
Take = Callable[[bytes, npt.NDArray[np.uint32]], object]


def encode_names(names: Iterable[str]) -> bytes:
    """Return the frame of some names."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    offsets = np.zeros(len(encoded) + 1, np.uint32)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    blob = b"".join(encoded)
    return _HEAD.pack(len(encoded), len(blob)) + offsets.tobytes() + blob


class _Frames(ProcessProtocol):
    def __init__(self, take: Take, ended: Callable[[Failure], object]) -> None:
        self._take = take
        self._ended = ended
        self._held = bytearray()

    def outReceived(self, data: bytes) -> None:
        self._held += data
        while len(self._held) >= _HEAD.size:
            count, size = _HEAD.unpack_from(self._held)
            begin = _HEAD.size + 4 * (count + 1)
            if len(self._held) < begin + size:
                return
            offsets = np.frombuffer(bytes(self._held[_HEAD.size : begin]), np.uint32)
            self._take(bytes(self._held[begin : begin + size]), offsets)
            del self._held[: begin + size]

    def processEnded(self, reason: Failure) -> None:
        self._ended(reason)


class FileScan(Service):
    """Scans `root` once when it starts; `take(blob, offsets)` gets the names as they are found.

    `done` tells whether the scan has ended; a scan that fails is logged, and names are then found as they are written.
    """

    name = "file scan"
    _log = Logger()

    def __init__(self, reactor: Any, root: str, take: Take, command: tuple[str, ...] = ()) -> None:
        self._reactor = reactor
        self._command = [*(command or (sys.executable, "-m", "cadtwist.services.scan")), root]
        self._take = take
        self._process: Any = None
        self.done = False

    def startService(self) -> None:
        """Begin the scan."""
        super().startService()
        package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        self._process = self._reactor.spawnProcess(
            _Frames(self._take, self._end), self._command[0], self._command, env={**os.environ, "PYTHONPATH": path}
        )

    def stopService(self) -> None:
        """Give up a scan that is under way."""
        super().stopService()
        if self._process is not None:
            self._process.signalProcess("KILL")

    def _end(self, reason: Failure) -> None:
        self._process = None
        self.done = True
        if self.running and getattr(reason.value, "exitCode", 0):
            self._log.error("the scan of existing files failed: {why}", why=reason.getErrorMessage())


def main(root: str, output: BinaryIO) -> None:
    """Write the names below `root` to `output`."""
    for names in walk_tree(root):
        output.write(encode_names(names))
        output.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
