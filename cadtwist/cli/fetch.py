"""`cadtwist fetch NAME...`: a metric's values over a time range, from files or from a running server."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from math import isnan
from typing import Any, NamedTuple, TextIO

from cadtwist.config.load import load
from cadtwist.config.model import StorageConfig
from cadtwist.errors import CadtwistError, StorageError
from cadtwist.kernels import active
from cadtwist.kernels.ceresformat import CorruptNodeError
from cadtwist.kernels.whisperformat import CorruptFileError
from cadtwist.model.series import Series
from cadtwist.query.timespec import parse_time
from cadtwist.services.stores import reading_store
from cadtwist.storage.ceres import fetch_node, is_ceres_tree

__all__ = ["Fetched", "from_answer", "from_file", "run"]

TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 256 << 20
_EXAMPLES = """examples:
  cadtwist fetch servers/web1/load.wsp                         a file, or a ceres node's folder
  cadtwist fetch --root /opt/graphite/storage/whisper a.b.c    a metric of a store
  cadtwist fetch -c carbon.conf a.b.c                          the same, the store being in the configuration
  cadtwist fetch --url http://127.0.0.1:18011 'a.*.c'          what a server knows, points in memory too"""
_SKIPPED = {"nulls": (None,), "zeroes": (0,), "empty": (None, 0), "": ()}


class Fetched(NamedTuple):
    """Values of `name` (None: unknown) at the epoch seconds `times`."""

    name: str
    times: list[int]
    values: list[float | None]


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Print what `argv` asks for; 1 when one of the names cannot be read."""
    asked = _parser().parse_args(list(argv))
    now = int(time.time())
    zone = datetime.now().astimezone().tzinfo or timezone.utc
    try:
        start, end = parse_time(asked.start, zone, now), parse_time(asked.until, zone, now)
        if asked.url:
            found = _from_server(asked.url, asked.name, start, end)
        else:
            store = _store(asked.root, asked.config, asked.instance, environ)
            found = [
                from_file(name, name, start, end, now)
                if store is None or name.endswith(".wsp")
                else _from_store(name, store, start, end, now)
                for name in asked.name
            ]
    except (CadtwistError, CorruptFileError, CorruptNodeError, OSError, ValueError) as error:
        print(f"cadtwist fetch: {error}", file=sys.stderr)
        return 1
    if not found:
        print("cadtwist fetch: nothing there", file=sys.stderr)
        return 1
    _show(found, asked.format, asked.pretty, _SKIPPED[asked.drop], stdout)
    return 0


def from_file(name: str, path: str, start: int, end: int, now: int) -> Fetched:
    """Return the points of a whisper file in start < time <= end, from the finest archive that reaches back.

    `path` may be the folder of a ceres node: then those of start <= time < end.
    """
    if os.path.isdir(path):
        return _fetched(name, fetch_node(name, os.fsencode(path), start, end, now))
    answer = active.whisperfile.fetch(os.fsencode(path), start, end, now)
    if answer is None:
        return Fetched(name, [], [])
    first, past, step, values = answer[:4]
    return _fetched(name, Series(name, first, past, step, values))


def from_answer(body: bytes) -> list[Fetched]:
    """Return the series of a render answer in JSON; ValueError when it is none."""
    found = []
    for series in json.loads(body):
        points = series["datapoints"]
        found.append(Fetched(str(series["target"]), [int(time) for _, time in points], [value for value, _ in points]))
    return found


def _store(root: str, config: str | None, instance: str, environ: Mapping[str, str]) -> Any:
    """Return the store of a folder or of a configuration, None where neither is given."""
    if config:
        return reading_store(load(config, instance=instance, environ=environ).config.storage)
    kind: Any = "ceres" if is_ceres_tree(root) else "whisper"
    return reading_store(StorageConfig(kind=kind, root=root)) if root else None


def _from_store(name: str, store: Any, start: int, end: int, now: int) -> Fetched:
    if not store.exists(name):
        raise StorageError(f"{name}: no such metric")
    return _fetched(name, store.fetch(name, start, end, now))


def _fetched(name: str, series: Series | None) -> Fetched:
    if series is None:
        return Fetched(name, [], [])
    plain = [None if isnan(value) else value for value in series.values.tolist()]
    return Fetched(name, list(range(series.start, series.end, series.step)), plain)


def _from_server(url: str, targets: Sequence[str], start: int, end: int) -> list[Fetched]:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise StorageError(f"{url}: http:// or https:// expected")
    query = [("target", target) for target in targets]
    query += [("from", str(start)), ("until", str(end)), ("format", "json")]
    full = f"{url.rstrip('/')}/render?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(full, timeout=TIMEOUT_S) as answer:  # noqa: S310 (the scheme is looked at above)
            return from_answer(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        raise StorageError(f"{full}: {error.code} {error.read(500).decode('utf-8', 'replace').strip()}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{full}: not the JSON of a render answer") from error


def _show(found: list[Fetched], form: str, pretty: bool, skipped: tuple[float | None, ...], stdout: TextIO) -> None:
    if form == "json":
        shown = [
            {"target": series.name, "datapoints": [[value, time] for time, value in _kept(series, skipped)]}
            for series in found
        ]
        json.dump(shown, stdout, indent=2 if pretty else None)
        stdout.write("\n")
    elif form == "csv":
        out = csv.writer(stdout, lineterminator="\n")
        for series in found:
            out.writerows((series.name, time, "" if value is None else value) for time, value in _kept(series, skipped))
    else:
        for series in found:
            if len(found) > 1:
                print(f"# {series.name}", file=stdout)
            for when, value in _kept(series, skipped):
                stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if pretty else str(when)
                print(f"{stamp}\t{'None' if value is None else value}", file=stdout)


def _kept(series: Fetched, skipped: tuple[float | None, ...]) -> Iterator[tuple[int, float | None]]:
    for when, value in zip(series.times, series.values, strict=True):
        if value not in skipped:
            yield when, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cadtwist fetch",
        description="Print a metric's values over a time range, from files or from a server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", nargs="+", help="a whisper file or ceres node, a metric (--root, -c) or a target (--url)"
    )
    parser.add_argument("--url", help="a running server, for example http://127.0.0.1:18011")
    parser.add_argument("--root", default="", help="folder of the store")
    parser.add_argument("-c", "--config", metavar="FILE", help="configuration that names the store")
    parser.add_argument("--instance", default="a", help="instance of carbon.conf (default: a)")
    parser.add_argument("--from", dest="start", default="-1d", metavar="TIME", help="as in render (default: -1d)")
    parser.add_argument("--until", default="now", metavar="TIME", help="as in render (default: now)")
    parser.add_argument("--format", choices=("text", "csv", "json"), default="text", help="default: text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format=json")
    parser.add_argument("--pretty", action="store_true", help="times for people; indented JSON")
    parser.add_argument("--drop", choices=("nulls", "zeroes", "empty"), default="", help="leave such values out")
    return parser
