"""Lists the metrics that have files, in a process of its own: the ingesting one has no time for folders.

`python -m cadtwist.services.scan ROOT...` writes frames to its standard output, each a number of names n (u32), the
bytes of all names (u32), n + 1 offsets (u32, little-endian as numbers in memory) and the names one after the other.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.services.counterfiles import CounterFiles, is_counter_tree
from cadtwist.storage.tree import walk_tree

__all__ = ["FileScan", "encode_names", "main"]

TURN_S = 0.02
"""How long names are taken in one reactor turn."""

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
    """Cuts frames out of what the scanning process writes, for at most `TURN_S` of a reactor turn."""

    def __init__(self, clock: Any, take: Take, ended: Callable[[Failure], object]) -> None:
        self._clock = clock
        self._take = take
        self._ended = ended
        self._held = bytearray()
        self._call: IDelayedCall | None = None

    def outReceived(self, data: bytes) -> None:
        self._held += data
        if self._call is None:
            self._take_some()

    def _take_some(self) -> None:
        """Take whole frames; with no time left, stop reading and go on in the next turn."""
        self._call = None
        until = self._clock.seconds() + TURN_S
        while self._take_one():
            if self._clock.seconds() >= until:
                self._call = self._clock.callLater(0, self._go_on)
                self._reading("pauseProducing")
                return

    def _go_on(self) -> None:
        self._reading("resumeProducing")
        self._take_some()

    def _take_one(self) -> bool:
        if len(self._held) < _HEAD.size:
            return False
        count, size = _HEAD.unpack_from(self._held)
        begin = _HEAD.size + 4 * (count + 1)
        if len(self._held) < begin + size:
            return False
        offsets = np.frombuffer(bytes(self._held[_HEAD.size : begin]), np.uint32)
        self._take(bytes(self._held[begin : begin + size]), offsets)
        del self._held[: begin + size]
        return True

    def _reading(self, method: str) -> None:
        pipe = getattr(self.transport, "pipes", {}).get(1)
        if pipe is not None:
            getattr(pipe, method)()

    def processEnded(self, reason: Failure) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        while self._take_one():
            pass
        self._ended(reason)


class FileScan(Service):
    """Scans `roots` when it starts, and again `rescan_s` seconds (0: never) after each scan's end.

    The first scan gives its names to `names.on_disk` as they are found.  Each later one is put between
    `names.begin_scan()` and, at its end, `names.end_scan(whole)`, with `whole` false for a scan that failed; what it
    returns, a Deferred perhaps, is waited for.  `done` tells whether the first scan has ended.
    """

    name = "file scan"
    _log = Logger()

    def __init__(
        self, reactor: Any, roots: Sequence[str], names: Any, rescan_s: float = 0.0, command: tuple[str, ...] = ()
    ) -> None:
        self._reactor = reactor
        self._roots = roots
        self._seen: set[str] = set()
        self._command = command or (sys.executable, "-m", "cadtwist.services.scan")
        self._names = names
        self._rescan_s = rescan_s
        self._process: Any = None
        self._call: IDelayedCall | None = None
        self._settling = False
        self.done = False

    @property
    def rescan_s(self) -> float:
        """Seconds between the end of a scan and the next one; a new value counts at once."""
        return self._rescan_s

    @rescan_s.setter
    def rescan_s(self, seconds: float) -> None:
        changed, self._rescan_s = seconds != self._rescan_s, seconds
        if changed and self.running and self.done and self._process is None:
            self._wait()

    def startService(self) -> None:
        """Begin the first scan; where there is no folder yet, there is nothing to wait for."""
        super().startService()
        if self._existing():
            self._spawn()
        else:
            self.done = True
            self._wait()

    def stopService(self) -> None:
        """Give up a scan that is under way."""
        super().stopService()
        self._cancel()
        if self._process is not None:
            self._process.signalProcess("KILL")

    def rescan(self) -> None:
        """Scan again now, unless a scan is under way."""
        self._cancel()
        if self._process is None and not self._settling:
            self._names.begin_scan()
            self._spawn()

    def ask(self) -> bool:
        """Scan soon, if scans are made at all; return whether they are."""
        running = bool(self.running)
        if running and self.done:
            self.rescan()
        return running

    def _existing(self) -> list[str]:
        """Return the roots that are there, or were: one that has gone is no folder without files, but a fault."""
        self._seen.update(root for root in self._roots if os.path.isdir(root))
        return [root for root in self._roots if root in self._seen]

    def _spawn(self) -> None:
        package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        frames = _Frames(self._reactor, self._names.on_disk, self._end)
        command = [*self._command, *(self._existing() or self._roots)]
        self._process = self._reactor.spawnProcess(frames, command[0], command, env={**os.environ, "PYTHONPATH": path})

    def _end(self, reason: Failure) -> None:
        self._process = None
        whole = not getattr(reason.value, "exitCode", 1)
        if self.running and not whole:
            self._log.error("the scan of existing files failed: {why}", why=reason.getErrorMessage())
        first, self.done, self._settling = not self.done, True, True
        settled = succeed(None) if first else maybeDeferred(self._names.end_scan, whole and bool(self.running))
        settled.addErrback(lambda failure: self._log.failure("the names index cannot be renewed", failure))
        settled.addCallback(lambda _: self._settled())

    def _settled(self) -> None:
        self._settling = False
        self._wait()

    def _wait(self) -> None:
        self._cancel()
        if self.running and self._rescan_s:
            self._call = self._reactor.callLater(self._rescan_s, self.rescan)

    def _cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()


def main(roots: Sequence[str], output: BinaryIO) -> None:
    """Write the names below `roots` to `output`; raises OSError where one cannot be read at all."""
    for root in roots:
        os.scandir(root).close()
        counters = CounterFiles(root).walk() if is_counter_tree(root) else iter(())
        for names in chain(walk_tree(root), counters):
            output.write(encode_names(names))
            output.flush()


if __name__ == "__main__":
    os.nice(10)
    main(sys.argv[1:], sys.stdout.buffer)
