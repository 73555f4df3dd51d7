"""`cadtwist shards new` and `cadtwist shards plan`: propose a map of statsrelay's virtual shards, or a better one.

The number of shards decides where names go, so a map is begun with many of them, and load is moved by giving single
shards to other backends.  What is printed as JSON goes into the configuration as it is; a SIGHUP applies it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from cadtwist.routing.shardmap import Plan, backend_key, plan_moves, spread_shards

__all__ = ["read_lines", "read_map", "run"]

MAX_CHARACTERS = 64 << 20
"""The most that is read of a map or of counts of lines."""


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Propose a map; 2 for arguments or files that cannot be used."""
    del environ
    asked = _parser().parse_args(list(argv))
    try:
        if asked.task == "new":
            for backend in asked.backend:
                backend_key(backend)
            json.dump({"shard_map": spread_shards(asked.backend, asked.count)}, stdout, indent=2)
            stdout.write("\n")
            return 0
        for backend in asked.add:
            backend_key(backend)
        plan = plan_moves(
            read_map(_content(asked.map), asked.group),
            read_lines(_content(asked.lines), asked.group),
            added=asked.add,
            leaving=asked.remove,
            tolerance=asked.tolerance / 100,
            max_moves=asked.max_moves,
        )
    except (OSError, ValueError) as error:
        print(f"cadtwist shards: {error}", file=sys.stderr)
        return 2
    _show(plan, stdout, as_json=asked.json)
    return 0


def read_map(text: str, group: int = 0) -> list[str]:
    """Return the shard map in `text`; ValueError if there is none.

    `text` is JSON: a list, an object with `shard_map`, or a configuration of statsrelay, in which group 0 is the map
    of `statsd` itself and group n the n-th of `duplicate_to`.
    """
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the map is not JSON: {error}") from None
    if isinstance(found, dict) and "statsd" in found:
        found = found["statsd"]
        if group and isinstance(found, dict):
            others = found.get("duplicate_to", [])
            others = others if isinstance(others, list) else [others]
            found = others[group - 1] if 0 < group <= len(others) else None
    elif group:
        raise ValueError("groups are for a configuration of statsrelay")
    if isinstance(found, dict):
        found = found.get("shard_map")
    if not isinstance(found, list) or not found or not all(isinstance(shard, str) for shard in found):
        raise ValueError("there is no shard map: a list of host:port, one for each shard")
    return found


def read_lines(text: str, group: int = 0) -> list[int]:
    """Return the lines of each shard in `text`; ValueError if there are none.

    `text` is a JSON list, a number in each line, or what `/stats` of a relay answers, of all sections or of one: then
    the n-th group counts that has shards.
    """
    try:
        found: Any = json.loads(text) if text.lstrip().startswith(("[", "{")) else [int(word) for word in text.split()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the counts of lines cannot be read: {error}") from None
    if isinstance(found, dict):
        found = _told_lines(found, group)
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in found):
        raise ValueError("the counts of lines are not whole numbers")
    return list(found)


def _told_lines(stats: dict[str, Any], group: int) -> list[Any]:
    sections = [stats] if "shards" in stats else [each for each in stats.values() if isinstance(each, dict)]
    groups = [each for section in sections for each in _listed(section.get("shards"))]
    if not 0 <= group < len(groups):
        raise ValueError(f"there is no group {group} with shards in what /stats tells")
    told = groups[group]
    if not isinstance(told, dict) or not isinstance(told.get("lines"), list):
        raise ValueError("the shards are not what /stats tells: each group has a list, lines")
    return list(told["lines"])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _content(path: str) -> str:
    if path == "-":
        content = sys.stdin.read(MAX_CHARACTERS + 1)
    else:
        with open(path, encoding="utf-8") as file:
            content = file.read(MAX_CHARACTERS + 1)
    if len(content) > MAX_CHARACTERS:
        raise ValueError(f"{path} is longer than {MAX_CHARACTERS} characters")
    return content


def _show(plan: Plan, stdout: TextIO, *, as_json: bool) -> None:
    if as_json:
        told = {
            "shard_map": plan.shards,
            "moves": [move._asdict() for move in plan.moves],
            "before": plan.before,
            "after": plan.after,
        }
        json.dump(told, stdout, indent=2)
        stdout.write("\n")
        return
    for move in plan.moves:
        print(f"shard {move.shard}: {move.source} -> {move.target} ({move.lines} lines)", file=stdout)
    if not plan.moves:
        print("no move would help", file=stdout)
    width = max(len(backend) for backend in plan.before)
    for backend, before in plan.before.items():
        print(f"{backend:{width}}  {before} lines -> {plan.after[backend]}", file=stdout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist shards", description="Propose a map of virtual shards.")
    tasks = parser.add_subparsers(dest="task", required=True)
    new = tasks.add_parser("new", help="print an even map as JSON")
    new.add_argument("--count", type=int, required=True, help="how many shards; they stay for good, so take many")
    new.add_argument("backend", nargs="+", help="host:port or host:port:protocol")
    plan = tasks.add_parser("plan", help="move shards off loaded backends")
    plan.add_argument("map", help="JSON file with the map, or a configuration of statsrelay (-: standard input)")
    plan.add_argument("lines", help="file with the lines of each shard, or with what /stats tells (-: standard input)")
    plan.add_argument("--group", type=int, default=0, help="of a configuration: 0 = its own map, n = duplicate_to")
    plan.add_argument("--add", action="append", default=[], metavar="BACKEND", help="a new backend")
    plan.add_argument("--remove", action="append", default=[], metavar="BACKEND", help="a backend that loses all")
    plan.add_argument("--tolerance", type=float, default=10.0, metavar="PERCENT", help="above the mean (default: 10)")
    plan.add_argument("--max-moves", type=int, metavar="N", help="at most so many (default: as many as help)")
    plan.add_argument("--json", action="store_true", help="print the new map and the moves as JSON")
    return parser
