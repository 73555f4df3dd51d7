"""`cadtwist statfile ...`: StatFiles shown, filled, merged, checked and mended, as istatd's own tools do and beyond."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from cadtwist.cli.statclient import Asked, add_tools
from cadtwist.kernels import statformat as form
from cadtwist.kernels.active import statfile
from cadtwist.kernels.statfile_py import apply_redo, create_file, new_file_header, read_header, update_file
from cadtwist.kernels.statformat import CELL, CorruptFileError, Header
from cadtwist.model.statretention import parse_duration
from cadtwist.query.istat import figures

__all__ = ["run"]

_DUMP_HEAD = "DATE,SUM,SUMSQ,MIN,MAX,COUNT,AVG,SDEV"
_FULL_NAMES = (
    ("magic", "magic"), ("hdr_size", "hdr_size"), ("cfg_interval", "interval"), ("cr_version", "cr_version"),
    ("rd_version", "rd_version"), ("unit", "unit"), ("name", "name"), ("page_size", "page_size"),
    ("page_count", "page_count"), ("first_bucket", "first_bucket"), ("last_bucket", "last_bucket"),
    ("last_time", "last_time"), ("cumulative_sum", "cumulative_sum"), ("cumulative_sum_sq", "cumulative_sum_sq"),
    ("cumulative_count", "cumulative_count"), ("last_cumulative_clear_time", "cumulative_clear_time"),
    ("file_create_time", "create_time"), ("flags", "flags"),
)  # fmt: skip
_TEXT_BYTES = {"magic": 16, "unit": 64, "name": 256}
_FAULTS = (OSError, CorruptFileError, ValueError)


def run(
    argv: Sequence[str],
    stdout: TextIO = sys.stdout,
    environ: Mapping[str, str] = os.environ,
    stdin: TextIO | None = None,
    now: Callable[[], float] = time.time,
) -> int:
    """Do what `argv` asks; 0, 1 where something failed, or what the tool says of itself."""
    del environ
    arguments = _parser().parse_args(list(argv))
    try:
        status: int = arguments.tool(Asked(arguments, stdin or sys.stdin, stdout, now()))
    except _FAULTS as error:
        print(f"cadtwist statfile: {error}", file=sys.stderr)
        return 1
    return status


# Showing


def _dump(asked: Asked) -> int:
    path = os.fsencode(asked.arguments.file)
    try:
        head = read_header(path)
        if asked.arguments.full:
            _dump_full(path, head, asked.stdout)
        else:
            _dump_csv(path, head, asked.stdout)
    except _FAULTS as error:
        print(f"Cannot open: {asked.arguments.file} ({error})", file=sys.stderr)
        return 1
    return 0


def _dump_csv(path: bytes, head: Header, out: TextIO) -> None:
    """Print the cells from the first to the last bucket, stale ones as well."""
    out.write(_DUMP_HEAD + "\n")
    span = min(head.last_bucket - head.first_bucket + 1, head.slots)
    cells = _cells(path, head.first_bucket, span)
    told = figures(cells[cells["time"] > 0], single=True)
    columns = [told[name] for name in ("time", "sum", "sumsq", "min", "max", "count", "avg", "sdev")]
    out.writelines(f'"{_iso(moment)}",{",".join(map(_short, rest))}\n' for moment, *rest in zip(*columns, strict=True))


def _dump_full(path: bytes, head: Header, out: TextIO) -> None:
    """Print the header, then every slot of the ring and whether its time is what it should be."""
    out.write("# Header: Name=Value\n")
    for shown, field in _FULL_NAMES:
        value = getattr(head, field)
        if field in _TEXT_BYTES:
            text = _escaped(value.ljust(_TEXT_BYTES[field], b"\0"))
        elif field == "last_time":
            text = f'"{_iso(value)}"'
        else:
            text = _short(value)
        out.write(f"{shown}={text}\n")
    out.write("# Valid Bucket Time Sum SumSq Min Max Cnt\n")
    told = figures(_cells(path, 0, head.slots), single=True)
    newest = head.last_bucket % head.slots
    columns = [told[name] for name in ("time", "sum", "sumsq", "min", "max", "count")]
    for slot, (moment, total, sumsq, low, high, count) in enumerate(zip(*columns, strict=True)):
        expected = head.last_time + (slot - newest) * head.interval
        valid = expected <= moment < expected + head.interval
        numbers = "".join(f"{_short(number):>12}" for number in (total, sumsq, low, high))
        out.write(f"{int(valid):>2}{slot:>8}{moment:>14}{numbers}{count:>8}\n")


def _info(asked: Asked) -> int:
    bad = 0
    for file in asked.arguments.files:
        try:
            head = read_header(os.fsencode(file))
        except _FAULTS as error:
            print(f"{file}: {error}", file=sys.stderr)
            bad += 1
            continue
        asked.stdout.write(f"{file}:\n")
        for name, value in _told(head):
            asked.stdout.write(f"{name:>28}= {value}\n")
    return min(bad, 255)


def _told(head: Header) -> Iterator[tuple[str, str]]:
    """Yield what is shown of a header."""
    yield "cr_version", str(head.cr_version)
    yield "rd_version", str(head.rd_version)
    yield "cfg_interval", str(head.interval)
    yield "unit", head.unit.decode("utf-8", "replace")
    for name in ("page_size", "page_count", "first_bucket", "last_bucket"):
        yield name, str(getattr(head, name))
    yield "last_time", f"{_iso(head.last_time)} ({head.last_time})"
    yield "cumulative_sum", _short(head.cumulative_sum)
    yield "cumulative_sum_sq", _short(head.cumulative_sum_sq)
    yield "cumulative_count", str(head.cumulative_count)
    yield "last_cumulative_clear_time", f"{_iso(head.cumulative_clear_time)} ({head.cumulative_clear_time})"
    yield "file_create_time", f"{_iso(head.create_time)} ({head.create_time})"
    yield "lambda", _short(head.factor)
    yield "season", str(head.season)
    yield "fixed_count", str(head.fixed_count)
    yield "flags", f"0x{head.flags:x}"
    yield "bucketsize", str(form.CELL_BYTES)


# Filling


def _nums(asked: Asked) -> int:
    """Record `value` or `time value` lines as a daemon would, into a file that is made if need be."""
    a = asked.arguments
    path = os.fsencode(os.path.abspath(a.stat_file))
    if a.counter or not os.path.exists(path):
        zero = a.zero_time or int(asked.now)
        head = new_file_header(path, a.interval, a.num_samples, 0.0, 0, zero, 0)
        create_file(path, head, replace=os.path.lexists(path))
    cells = []
    for moment, value in _numbers(asked):
        with np.errstate(over="ignore"):
            single = float(np.float32(value))
            cells.append((moment, single, single, single, 1, np.float32(single * single)))
    update_file(path, np.array(cells, CELL), None)
    return 0


def _numbers(asked: Asked) -> Iterator[tuple[int, float]]:
    words = (word for line in asked.stdin for word in line.split())
    for word in words:
        if asked.arguments.time_in_file:
            following = next(words, None)
            if following is None:
                raise ValueError(f"a value is missing behind the time {word}")
            yield int(word), float(following)
        else:
            yield int(asked.now), float(word)


def _import(asked: Asked) -> int:
    """Put lines of `time sum sumsq min max count` into a file: over what is there, or only where nothing is."""
    rows, bad = [], 0
    for number, line in enumerate(asked.stdin, 1):
        fields = line.split()
        try:
            moment, total, sumsq, low, high, count = (float(field) for field in fields)
            rows.append((int(moment), total, low, high, int(count), sumsq))
        except (ValueError, OverflowError):
            if fields:
                print(f"line {number}: six numbers are expected", file=sys.stderr)
                bad += 1
    with np.errstate(over="ignore"):
        cells = np.array(rows, CELL)
    mode = form.ONLY_IF_EMPTY if asked.arguments.fill_empty else form.OVERWRITE
    taken = update_file(os.fsencode(asked.arguments.stat_file), cells, mode)
    asked.stdout.write(f"{taken} cells taken, {len(rows) - taken} outside of the ring, {bad} lines refused\n")
    return 1 if bad else 0


def _merge(asked: Asked) -> int:
    """Fill the target's empty cells from the source: two files, or two stores file by file."""
    a = asked.arguments
    if not os.path.isdir(a.source):
        filled = _merge_file(os.fsencode(a.source), os.fsencode(a.target), a)
        asked.stdout.write(f"{filled} cells offered\n")
        return 0
    files = filled = bad = 0
    for path in _files_below([a.source]):
        target = os.path.join(a.target, os.path.relpath(path, a.source))
        try:
            filled += _merge_file(os.fsencode(path), os.fsencode(target), a)
            files += 1
        except _FAULTS as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad += 1
    asked.stdout.write(f"{files} files, {filled} cells offered, {bad} files refused\n")
    return 1 if bad else 0


def _merge_file(source: bytes, target: bytes, a: Any) -> int:
    head = read_header(source)
    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target) or b".", exist_ok=True)
        fresh = head._replace(name=target[:255], first_bucket=0, last_bucket=0, last_time=0, cumulative_count=0)
        create_file(target, fresh._replace(cumulative_sum=0.0, cumulative_sum_sq=0.0))
    other = read_header(target)
    if (head.interval, head.flags) != (other.interval, other.flags):
        raise ValueError(f"{os.fsdecode(target)} has another interval or other flags")
    first = max(head.first_bucket, head.last_bucket - head.slots + 1)
    cells = _cells(source, first, head.last_bucket - first + 1)
    wanted = (cells["count"] != 0) & (cells["time"] >= a.start) & (cells["time"] <= a.until)
    update_file(target, cells[wanted], form.ONLY_IF_EMPTY)
    return int(np.count_nonzero(wanted))


# Checking and mending


def _lint(asked: Asked) -> int:
    """Name what is wrong with the files below a folder."""
    wrong = 0
    for path in _files_below(asked.arguments.folders):
        for problem in _problems(path, asked.now - asked.arguments.age):
            asked.stdout.write(f"W: {problem}: {path}\n")
            wrong += 1
    return 1 if wrong else 0


def _problems(path: str, oldest: float) -> Iterator[str]:
    found = os.stat(path)
    if found.st_size < form.HEADER_BYTES:
        yield "short file"
        return
    try:
        head = read_header(os.fsencode(path))
    except CorruptFileError as error:
        yield str(error)
        return
    if found.st_size < head.file_bytes:
        yield "file is too small"
    if head.last_bucket < head.first_bucket or head.last_bucket - head.first_bucket >= head.slots:
        yield "impossible first and last bucket"
    if found.st_mtime < oldest:
        yield "file exceeds age"


def _fixup(asked: Asked) -> int:
    """Mend what can be mended: length, name, first and last bucket as the cells tell."""
    mended = bad = 0
    for path in _files_below(asked.arguments.paths):
        try:
            done = _mend(os.fsencode(os.path.abspath(path)), asked.arguments.dry_run)
        except _FAULTS as error:
            print(f"{path}: {error}", file=sys.stderr)
            bad += 1
            continue
        if done:
            mended += 1
            asked.stdout.write(f"{path}: {', '.join(done)}\n")
    asked.stdout.write(f"{mended} files {'to mend' if asked.arguments.dry_run else 'mended'}, {bad} beyond repair\n")
    return 1 if bad else 0


def _mend(path: bytes, dry: bool) -> list[str]:
    head, done = read_header(path), []
    if os.path.getsize(path) < head.file_bytes:
        done.append("extended")
        if not dry:
            os.truncate(path, head.file_bytes)
    if head.name != path[:255]:
        done.append("renamed")
    times = _cells(path, 0, head.slots)["time"]
    known = times[times != 0]
    indices = (known - head.create_time) // head.interval
    inside = indices[(known >= head.create_time - head.slots * head.interval)]
    if len(inside) and int(inside.max()) > head.last_bucket:
        done.append("last bucket moved")
        last = int(inside.max())
        head = head._replace(last_bucket=last, last_time=head.create_time + last * head.interval)
    first = max(min(head.first_bucket, head.last_bucket), head.last_bucket - head.slots + 1)
    if first != head.first_bucket:
        done.append("first bucket moved")
    if done and not dry:
        _write_header(path, head._replace(first_bucket=first, name=path[:255]))
    return done


def _write_header(path: bytes, head: Header) -> None:
    """Write a header alone, as a redo record with nothing else does."""
    folder, name = os.path.split(path)
    size = 12 + len(name) + form.HEADER_BYTES
    entry = size.to_bytes(4, "little") + b"\0\0" + len(name).to_bytes(2, "little") + bytes(4)
    apply_redo(folder, entry + name + head.pack())


def _generate(asked: Asked) -> int:
    """Make a tree of files to try things with."""
    a = asked.arguments
    chance = random.Random(a.seed)
    for number in range(a.num_files):
        path = os.path.join(a.base_path, f"lev0_{number // 100:02}", f"lev1_{number % 100:02}", f"{a.interval_secs}s")
        head = new_file_header(os.fsencode(path), a.interval_secs, a.samples, 0.0, 0, int(asked.now), 0)
        create_file(os.fsencode(path), head, sparse=True)
        rows = []
        for back in range(a.filled):
            value = min(a.store_value + back * a.store_increment + chance.random(), a.store_max)
            moment = int(asked.now) - back * a.interval_secs
            rows.append((moment - moment % a.interval_secs, value, value, value, 1, value * value))
        update_file(os.fsencode(path), np.array(rows, CELL), form.OVERWRITE)
    asked.stdout.write(f"{a.num_files} files below {a.base_path}\n")
    return 0


# Common parts


def _cells(path: bytes, first: int, count: int) -> npt.NDArray[Any]:
    folder, name = os.path.split(path)
    with statfile.Reader(folder or b".", [name]) as reader:
        found: npt.NDArray[Any] = reader.cells(0, first, max(0, count))
        return found


def _files_below(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files of some folders, and those that are named themselves, in order."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (os.path.join(folder, name) for name in sorted(files) if not name.startswith("."))


def _iso(moment: int) -> str:
    try:
        return f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return str(moment)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _escaped(data: bytes) -> str:
    out = []
    for byte in data:
        special = {10: "\\n", 13: "\\r", 34: '\\"', 92: "\\\\"}.get(byte)
        out.append(special or (chr(byte) if 32 <= byte <= 126 else f"\\{byte:03o}"))
    return '"' + "".join(out) + '"'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cadtwist statfile", description="Show, fill, merge, check and mend StatFiles."
    )
    tools = parser.add_subparsers(required=True, metavar="TOOL")

    def tool(name: str, work: Callable[[Asked], int], text: str) -> argparse.ArgumentParser:
        made = tools.add_parser(name, help=text, description=text)
        made.set_defaults(tool=work)
        return made

    dump = tool("dump", _dump, "print a file's cells as CSV")
    dump.add_argument("--full", action="store_true", help="the header and every slot of the ring")
    dump.add_argument("--force", action="store_true", help="accepted for istatd's scripts")
    dump.add_argument("file")
    tool("info", _info, "print headers").add_argument("files", nargs="+", metavar="FILE")
    nums = tool("nums", _nums, "record values from standard input")
    nums.add_argument("--stat-file", required=True)
    nums.add_argument("--time-in-file", action="store_true", help="each value follows its time")
    nums.add_argument("--counter", action="store_true", help="make the file anew")
    for name, default in (("interval", 10), ("zero-time", 0), ("num-samples", 1000)):
        nums.add_argument(f"--{name}", type=int, default=default)
    load = tool("import", _import, "put lines of `time sum sumsq min max count` into a file")
    load.add_argument("--stat-file", required=True)
    load.add_argument("--fill-empty", action="store_true", help="only where nothing is")
    merge = tool("merge", _merge, "fill empty cells of a file or store from another")
    merge.add_argument("source")
    merge.add_argument("target")
    merge.add_argument("--from", dest="start", type=int, default=1, metavar="EPOCH")
    merge.add_argument("--until", type=int, default=1 << 53, metavar="EPOCH")
    lint = tool("lint", _lint, "name what is wrong with files")
    lint.add_argument("--age", type=parse_duration, default=100_000, help="like 1d; default: 100000s")
    lint.add_argument("folders", nargs="+", metavar="FOLDER")
    fix = tool("fixup", _fixup, "mend lengths, names and bounds of files")
    fix.add_argument("--dry-run", action="store_true")
    fix.add_argument("paths", nargs="+", metavar="PATH")
    make = tool("generate", _generate, "make a tree of files to try things with")
    make.add_argument("--base-path", required=True)
    for name, default in (("num-files", 1000), ("interval-secs", 10), ("samples", 512), ("filled", 100), ("seed", 1)):
        make.add_argument(f"--{name}", type=int, default=default)
    for name, number in (("store-value", 0.0), ("store-increment", 1.0), ("store-max", 1e9)):
        make.add_argument(f"--{name}", type=float, default=number)
    add_tools(tools)
    return parser
