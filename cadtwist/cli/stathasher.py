"""The command `stathasher`: tells of each name on stdin which of statsrelay's backends gets it."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cadtwist.config.errors import Problems
from cadtwist.config.jsonlines import read_json
from cadtwist.config.load import read_file
from cadtwist.config.relaymodel import GroupConfig
from cadtwist.config.statsrelay import DEFAULT_PATH, load_statsrelay
from cadtwist.routing.shardmap import ShardMap, hasher_line

__all__ = ["main", "run"]


def main() -> int:
    """Entry point of the console script."""
    names = open(sys.stdin.fileno(), encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        return run(sys.argv, names, sys.stdout, sys.stderr)
    except (BrokenPipeError, KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(argv: Sequence[str], names: Iterable[str], stdout: TextIO, stderr: TextIO) -> int:
    """Answer every name and return the exit status; a name ends at the first white space of its line."""
    try:
        options = dict(getopt.gnu_getopt(list(argv[1:]), "hc:")[0])
    except getopt.GetoptError as error:
        print(f"{argv[0]}: {error}", file=stderr)
        return 1
    if "-h" in options:
        stdout.write(f"Usage: {argv[0]} [-h] [-c /path/to/config.json]")
        return 0
    path = options.get("-c", DEFAULT_PATH)
    problems = Problems()
    try:
        text = read_file(path)
        config = load_statsrelay(text, path, problems, checking=True)
    except (OSError, ValueError) as error:
        problems.error(path, 0, "", f"cannot be read: {error}")
    if problems.failed:
        for problem in problems.texts("error"):
            print(f"ERROR: {problem}", file=stderr)
        return 1
    tree: Any = read_json(text, path, problems)[0]
    groups = config.relays[0].groups if config.relays else ()
    shards = _shards(groups, "shard_map" in (tree.get("statsd") or {}))
    for line in names:
        print(hasher_line(line.rstrip("\n"), shards, config.health_metrics is not None), file=stdout, flush=True)
    return 0


def _shards(groups: tuple[GroupConfig, ...], primary: bool) -> ShardMap | None:
    """Return the primary map of shards, without one that of the last further group; None where there is none."""
    if not groups:
        return None
    return ShardMap((groups[0] if primary else groups[-1]).hash_keys)
