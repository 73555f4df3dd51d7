"""Carbon's pickle protocol: frames of pickled datapoints, read straight into columns.

Format: `cadtwist.codec.frames`; the payload is a list or tuple of `(name, (timestamp, value))`, or
`(name, (timestamp, value), (timestamp, value), ...)` as go-carbon sends it, in any pickle protocol.  Frames as clients
write them are read by the kernel; any other by the restricted decoder, element by element: what cannot be a datapoint
is refused alone, and nothing is ever executed.  A frame yields at most as many datapoints as it has bytes, although
a pickle may name one list a thousand times.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from cadtwist.codec.frames import BadSink, FrameCodec
from cadtwist.codec.safepickle import PlainPickleError, read
from cadtwist.kernels import active
from cadtwist.model.badinput import BAD_KINDS, EXCERPT_BYTES, BadInput
from cadtwist.model.batch import Batch, Columns

__all__ = ["PickleCodec"]

_LONGEST_NUMBER = 400


class PickleCodec(FrameCodec):
    """Reads the frames of all connections of one listener into one set of columns."""

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: Columns,
        emit: Callable[[Batch], None],
        resolution: int = 0,
        kernel: ModuleType = active.picklepoints,
    ) -> None:
        super().__init__(table, columns, emit, resolution, kernel)
        self._reader = kernel.PointReader()

    def payload(self, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read one pickle: by the kernel if it is of the usual shape, else element by element."""
        if not self._reader.load(data, start, end):
            self._read_slowly(data, start, end, now, bad)
            return
        reader, columns, wrong = self._reader, self.columns, list[tuple[int, bytes]]()
        while reader.left:
            if columns.n == len(columns.ids):
                self.flush()
            columns.n = reader.take(
                self.table, columns.ids, columns.timestamps, columns.values, columns.n, now, self.resolution, wrong
            )
            if wrong:
                _report(wrong, bad)
                wrong.clear()

    def _read_slowly(self, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        try:
            found = read(data, start, end)
        except PlainPickleError as error:
            bad(BadInput("frame", str(error).encode("utf-8", "replace")[:EXCERPT_BYTES]), 1)
            return
        if not isinstance(found, (list, tuple)):
            bad(BadInput("frame", _shown(found)), 1)
            return
        faults = _Faults()
        left = end - start
        for element in found:
            left -= len(element) if isinstance(element, (list, tuple)) else 1
            if left < 0:
                faults.add("frame", "more datapoints than bytes")
                break
            self._element(element, now, faults, bad)
        faults.tell(bad)

    def _element(self, element: object, now: float, faults: _Faults, bad: BadSink) -> None:
        """Take one `(name, (timestamp, value), ...)`, whatever it may really be."""
        if not isinstance(element, (list, tuple)) or len(element) < 2:
            faults.add("fields", element)
            return
        name = element[0]
        if not isinstance(name, str):
            faults.add("name", name)
            return
        points: list[tuple[float, float]] = []
        for pair in element[1:]:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                faults.add("fields", name)
                continue
            timestamp, value = _number(pair[0]), _number(pair[1])
            if timestamp is None or value is None:
                faults.add("value" if value is None else "timestamp", name)
                continue
            points.append((timestamp, value))
        if points:
            self.keep(_raw(name), points, now, bad)


class _Faults:
    """What is wrong with one payload: of each kind the first example and how many, for one report."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[object, int]] = {}

    def add(self, kind: str, example: object) -> None:
        first, items = self._found.get(kind, (example, 0))
        self._found[kind] = first, items + 1

    def tell(self, bad: BadSink) -> None:
        for kind, (example, items) in self._found.items():
            bad(BadInput(kind, _shown(example)), items)


def _report(wrong: list[tuple[int, bytes]], bad: BadSink) -> None:
    """Tell `bad` of each kind once, with the first example and the number of items."""
    counts: dict[int, int] = {}
    first: dict[int, bytes] = {}
    for kind, excerpt in wrong:
        counts[kind] = counts.get(kind, 0) + 1
        first.setdefault(kind, excerpt)
    for kind, items in counts.items():
        bad(BadInput(BAD_KINDS[kind], first[kind]), items)


def _raw(name: str) -> bytes:
    """Return the bytes of a name; they are no valid UTF-8 where the name's were not."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _number(found: object) -> float | None:
    """Return a number or numeric text as float, None for what is neither."""
    if isinstance(found, (str, bytes)) and len(found) > _LONGEST_NUMBER:
        return None
    if not isinstance(found, (int, float, str, bytes)):
        return None
    try:
        return float(found)
    except (ValueError, OverflowError):
        return None


def _shown(found: object) -> bytes:
    """Return a short text about a value that may be a nest of anything."""
    if isinstance(found, str):
        return found[:EXCERPT_BYTES].encode("utf-8", "replace")[:EXCERPT_BYTES]
    if isinstance(found, bytes):
        return found[:EXCERPT_BYTES]
    return b"a value of type " + type(found).__name__.encode()
