"""`cadtwist dump FILE`: everything that a file of the store holds, as CSV or JSON.

It is a whisper file, or the folder of a ceres node, whose slices are shown as archives.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.ceresformat import CorruptNodeError
from cadtwist.kernels.whisperformat import CorruptFileError, Header, parse_header
from cadtwist.model.consolidation import method_name
from cadtwist.storage.ceresread import Slice, read_node, read_slice, slices_in

__all__ = ["Dumped", "DumpedArchive", "read_ceres", "read_whisper", "run"]

_SLOT = np.dtype([("time", ">u4"), ("value", ">f8")])


class DumpedArchive(NamedTuple):
    """One archive: seconds per point, number of slots, and the filled slots' numbers, epoch seconds and values.

    `offset` is its place in a whisper file, the time at which it begins if it is a slice.
    """

    step: int
    points: int
    offset: int
    slots: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def between(self, start: float, end: float) -> DumpedArchive:
        """Return only the points of start <= time <= end."""
        chosen = (self.times >= start) & (self.times <= end)
        return self._replace(slots=self.slots[chosen], times=self.times[chosen], values=self.values[chosen])


class Dumped(NamedTuple):
    """A file's metadata and archives, finest first."""

    kind: str
    method: str
    xff: float | None
    max_retention_s: int
    archives: tuple[DumpedArchive, ...]


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Print the file that `argv` names; 1 when it cannot be read."""
    del environ
    asked = _parser().parse_args(list(argv))
    try:
        if os.path.isdir(asked.file):
            dumped = read_ceres(asked.file)
        else:
            with open(asked.file, "rb") as file:
                dumped = read_whisper(file.read())
    except OSError as error:
        print(f"{asked.file}: {error.strerror}", file=sys.stderr)
        return 1
    except CorruptNodeError as error:
        print(f"{asked.file}: no ceres node: {error}", file=sys.stderr)
        return 1
    except CorruptFileError as error:
        print(f"{asked.file}: no whisper file: {error}", file=sys.stderr)
        return 1
    chosen = range(len(dumped.archives)) if asked.archive is None else [asked.archive]
    if not all(0 <= number < len(dumped.archives) for number in chosen):
        print(f"{asked.file}: archives are 0 to {len(dumped.archives) - 1}", file=sys.stderr)
        return 1
    archives = {
        number: dumped.archives[number].between(
            -inf if asked.start is None else asked.start, inf if asked.until is None else asked.until
        )
        for number in chosen
    }
    show = _show_json if asked.format == "json" else _show_csv
    show(dumped, archives, asked.header, stdout)
    return 0


def read_whisper(data: bytes) -> Dumped:
    """Return what the bytes of a whisper file say; `CorruptFileError` when they are none."""
    header = parse_header(data, len(data))
    archives = tuple(_read_archive(data, *archive) for archive in header.archives)
    return Dumped("whisper", _method(header), header.xff, header.max_retention, archives)


def read_ceres(path: str) -> Dumped:
    """Return what a ceres node says and holds, newest slice first; OSError or CorruptNodeError where there is none."""
    folder = os.fsencode(path)
    node = read_node(folder)
    slices = tuple(_read_slice(folder, one) for one in slices_in(folder))
    longest = max((step * points for step, points in node.archives), default=0)
    return Dumped("ceres", node.method, node.xff, longest, slices)


def _read_slice(folder: bytes, one: Slice) -> DumpedArchive:
    values = read_slice(folder, one, one.start, one.end)
    filled = np.flatnonzero(~np.isnan(values))
    return DumpedArchive(one.step, one.points, one.start, filled, one.start + filled * one.step, values[filled])


def _method(header: Header) -> str:
    try:
        return method_name(header.method)
    except ValueError:
        return str(header.method)


def _read_archive(data: bytes, offset: int, step: int, points: int) -> DumpedArchive:
    slots = np.frombuffer(data, _SLOT, points, offset)
    filled = np.flatnonzero(slots["time"])
    times = slots["time"][filled].astype(np.int64)
    order = np.argsort(times, kind="stable")
    return DumpedArchive(
        step, points, offset, filled[order], times[order], slots["value"][filled][order].astype(np.float64)
    )


def _show_csv(dumped: Dumped, archives: dict[int, DumpedArchive], header_only: bool, stdout: TextIO) -> None:
    out = csv.writer(stdout, lineterminator="\n")
    if header_only:
        out.writerow(("archive", "seconds_per_point", "points", "filled", "method", "xff"))
        for number, archive in archives.items():
            out.writerow((number, archive.step, archive.points, len(archive.times), dumped.method, dumped.xff))
        return
    out.writerow(("archive", "slot", "timestamp", "value"))
    for number, archive in archives.items():
        rows = zip(archive.slots.tolist(), archive.times.tolist(), archive.values.tolist(), strict=True)
        out.writerows((number, slot, time, value) for slot, time, value in rows)


def _show_json(dumped: Dumped, archives: dict[int, DumpedArchive], header_only: bool, stdout: TextIO) -> None:
    place = "start" if dumped.kind == "ceres" else "offset"
    shown: dict[str, Any] = {
        "format": dumped.kind,
        "aggregationMethod": dumped.method,
        "xFilesFactor": dumped.xff,
        "maxRetention": dumped.max_retention_s,
        "archives": [_archive_json(place, number, archive, header_only) for number, archive in archives.items()],
    }
    json.dump(shown, stdout, allow_nan=False)
    stdout.write("\n")


def _archive_json(place: str, number: int, archive: DumpedArchive, header_only: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "archive": number,
        place: archive.offset,
        "secondsPerPoint": archive.step,
        "points": archive.points,
        "retention": archive.step * archive.points,
        "filled": len(archive.times),
    }
    if not header_only:
        pairs = zip(archive.times.tolist(), archive.values.tolist(), strict=True)
        shown["datapoints"] = [[time, value if isfinite(value) else str(value)] for time, value in pairs]
    return shown


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist dump", description="Print all points of a file of the store.")
    parser.add_argument("file", help="a whisper file, or the folder of a ceres node")
    parser.add_argument("--format", choices=("csv", "json"), default="csv", help="default: csv")
    parser.add_argument("--header", action="store_true", help="metadata and archives only, no points")
    parser.add_argument("--archive", type=int, metavar="N", help="only archive N (0 is the finest)")
    parser.add_argument("--from", dest="start", type=float, metavar="EPOCH", help="no point before this time")
    parser.add_argument("--until", type=float, metavar="EPOCH", help="no point after this time")
    return parser
