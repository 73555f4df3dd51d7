#!/usr/bin/env python3
"""Show the bars, side by side with the peers: `python benchmarks/run.py [group ...]` (all groups by default).

Prints one Markdown table and writes the same as JSON.  Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accept import accept, first_sight, idle, twins, wal_share
from benchmarks.aggregator import aggregator
from benchmarks.bench import Bench, Group, say
from benchmarks.cache import cache, create
from benchmarks.files import descriptors, startup
from benchmarks.floods import churn, random_names
from benchmarks.istat import istat, istat_many
from benchmarks.journal import bound, replay
from benchmarks.memory import memory, site
from benchmarks.query import chain, million, query
from benchmarks.queryload import ingest
from benchmarks.relay import relay
from benchmarks.reloading import relay_reload
from benchmarks.report import Row, as_json, as_table
from benchmarks.settings import settings
from benchmarks.statsd import statsd
from benchmarks.timers import timers

GROUPS: dict[str, Group] = {
    "cache": cache,
    "create": create,
    "accept": accept,
    "first-sight": first_sight,
    "wal": wal_share,
    "twins": twins,
    "idle": idle,
    "descriptors": descriptors,
    "memory": memory,
    "startup": startup,
    "replay": replay,
    "log-bound": bound,
    "churn": churn,
    "random-names": random_names,
    "site": site,
    "relay": relay,
    "istat": istat,
    "istat-many": istat_many,
    "relay-reload": relay_reload,
    "query": query,
    "query-chain": chain,
    "query-million": million,
    "query-ingest": ingest,
    "settings": settings,
    "aggregator": aggregator,
    "statsd": statsd,
    "statsd-million": timers,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"any of: {', '.join(GROUPS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink names and files (1 = the bars' own numbers)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one load")
    parser.add_argument("--repeat", type=int, default=3, help="turns; the table has medians")
    parser.add_argument("--peers", default="", help="only these, by commas: cadtwist, carbon-c-relay ...")
    parser.add_argument("--work", type=Path, help="parent of the temporary folders")
    parser.add_argument("--json", type=Path, default=Path("build/bench/results.json"), help="where the JSON goes")
    given = parser.parse_args()
    unknown = [name for name in given.groups if name not in GROUPS]
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    return given


def _end(_number: int, _frame: object) -> None:
    raise SystemExit("stopped")


def main() -> int:
    """Run the groups; return the exit code.  SIGTERM ends it in order: no daemon stays behind."""
    signal.signal(signal.SIGTERM, _end)
    given = _arguments()
    only = tuple(peer for peer in given.peers.split(",") if peer)
    bench = Bench(given.scale, given.seconds, given.repeat, only, given.work)
    rows: list[Row] = []
    broken: list[str] = []
    for name in given.groups or GROUPS:
        say(f"group {name}")
        try:
            rows += GROUPS[name](bench)
        except (AssertionError, OSError) as failure:
            broken.append(name)
            say(f"group {name} broke off: {failure}")
    print(as_table(rows))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    as_json(rows, given.json)
    missed = [row for row in rows if row.passed is False]
    print(f"\n{sum(row.passed is True for row in rows)} bars met, {len(missed)} missed, {len(broken)} groups broken")
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
