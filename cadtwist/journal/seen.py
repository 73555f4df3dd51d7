"""Which frames of other shards came, on the disk: so that a restart counts none of them twice.

The file is records of 40 bytes, origin (16), number (u64), and a checksum (16) of both, appended once a turn.  What a
crash tears is at the end, and left out.  A file that has grown is written anew with what counts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Iterator

from cadtwist.errors import StorageError

__all__ = ["Seen"]

MOST_ORIGINS, MOST_NUMBERS = 256, 1 << 14
MOST_FILE_BYTES = 8 << 20
_RECORD = struct.Struct("<16sQ")
_SUM_BYTES = 16
_RECORD_BYTES = _RECORD.size + _SUM_BYTES


def _record(origin: bytes, number: int) -> bytes:
    said = _RECORD.pack(origin, number)
    return said + hashlib.blake2b(said, digest_size=_SUM_BYTES).digest()


class Seen:
    """The last 16,384 frames of each of the last 256 origins.  `path` None: in memory only.  Blocks on a small file."""

    def __init__(self, path: str | None = None, most_file_bytes: int = MOST_FILE_BYTES) -> None:
        self._path = path
        self._most_file_bytes = most_file_bytes
        self._origins: OrderedDict[bytes, OrderedDict[int, None]] = OrderedDict()
        self._fd = -1
        self._size = 0
        self._unwritten = bytearray()

    def __call__(self, origin: bytes, number: int) -> bool:
        """Tell whether a frame came before; from now on it did."""
        if self._take(origin, number):
            return True
        if self._path is not None:
            self._unwritten += _record(origin, number)
        return False

    def _take(self, origin: bytes, number: int) -> bool:
        numbers = self._origins.setdefault(origin, OrderedDict())
        self._origins.move_to_end(origin)
        if len(self._origins) > MOST_ORIGINS:
            self._origins.popitem(last=False)
        if number in numbers:
            return True
        numbers[number] = None
        if len(numbers) > MOST_NUMBERS:
            numbers.popitem(last=False)
        return False

    def open(self) -> None:
        """Read the file, and write it anew with what counts.  StorageError."""
        if self._path is None:
            return
        try:
            with open(self._path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, (size - 2 * self._most_file_bytes) // _RECORD_BYTES * _RECORD_BYTES))
                for origin, number in _records(file.read(2 * self._most_file_bytes + _RECORD_BYTES)):
                    self._take(origin, number)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        self._write_anew()

    def write(self) -> None:
        """Append what came since the last call.  StorageError; it is tried again with the next call."""
        if not self._unwritten or self._fd < 0:
            return
        try:
            done = os.write(self._fd, self._unwritten)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        self._size += done
        del self._unwritten[:done]
        if self._size > self._most_file_bytes:
            self._write_anew()

    def close(self) -> None:
        """Close the file."""
        self.write()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_anew(self) -> None:
        if self._path is None:
            return
        data = b"".join(_record(origin, number) for origin, numbers in self._origins.items() for number in numbers)
        data = data[-(self._most_file_bytes // 2 // _RECORD_BYTES * _RECORD_BYTES) :]
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self._path)), exist_ok=True)
            with open(self._path + ".new", "wb") as file:
                file.write(data)
            os.replace(self._path + ".new", self._path)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(data)


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the records that are whole; after a torn one the others stand at another place, which is found again."""
    at = 0
    while at + _RECORD_BYTES <= len(data):
        origin, number = _RECORD.unpack_from(data, at)
        if data[at : at + _RECORD_BYTES] == _record(origin, number):
            yield origin, number
            at += _RECORD_BYTES
        else:
            at += 1
