"""`cadtwist explain NAME...`: what each stage decides about a metric, its schema, its file and its owner.

Nothing needs to run: the same rules are asked that the daemon asks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from cadtwist.cli.storecheck import file_archives, shown_archives
from cadtwist.config.load import load
from cadtwist.config.model import Config
from cadtwist.errors import ConfigError
from cadtwist.kernels.whisperformat import CorruptFileError, relative_path
from cadtwist.model.retention import Archive
from cadtwist.services.chains import name_rules
from cadtwist.stages.names import Outcome
from cadtwist.storage.schemas import SchemaTable

__all__ = ["Step", "explain", "run"]


class Step(NamedTuple):
    """One station of a metric's way: which one, about which name, and what was decided there."""

    station: str
    metric: str
    decided: str


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Explain every name of `argv`; 2 when the configuration is faulty."""
    asked = _parser().parse_args(list(argv))
    try:
        config = load(asked.config, instance=asked.instance, environ=environ).config
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    told = {name: list(explain(config, name)) for name in asked.name}
    if asked.json:
        json.dump({name: [step._asdict() for step in steps] for name, steps in told.items()}, stdout, indent=2)
        stdout.write("\n")
        return 0
    for name, steps in told.items():
        print(name, file=stdout)
        for step in steps:
            about = "" if step.metric == name else f"{step.metric}: "
            print(f"  {step.station:10} {about}{step.decided}", file=stdout)
    return 0


def explain(config: Config, name: str) -> Iterator[Step]:
    """Yield what happens to metric `name` under `config`, in the order of the data's walk."""
    names = [name]
    for rule in name_rules(config):
        outcomes = {each: rule(each) or Outcome((each,)) for each in names}
        for each, outcome in outcomes.items():
            yield Step(rule.label, each, _shown_outcome(each, outcome.names, outcome.reason))
        names = [result for outcome in outcomes.values() for result in outcome.names]
    if config.cache is None:
        return
    table = SchemaTable(config.schemas, config.aggregation)
    for each in names:
        decision = table.explain(each)
        archives, xff, method = decision.schema
        yield Step("schema", each, f"[{decision.schema_rule}] {shown_archives(archives)}")
        yield Step("aggregation", each, f"[{decision.aggregation_rule}] {method}, xFilesFactor {xff:g}")
        if config.storage.kind == "whisper":
            yield Step("file", each, _file(config, each, archives))
        yield Step("owner", each, f"{config.program}, instance {config.instance}")


def _shown_outcome(name: str, names: tuple[str, ...], reason: str) -> str:
    if not names:
        return f"dropped ({reason})"
    shown = "passes" if names == (name,) else f"becomes {', '.join(names)}"
    return f"{shown} ({reason})" if reason else shown


def _file(config: Config, name: str, archives: Sequence[Archive]) -> str:
    try:
        below = relative_path(name.encode("utf-8"), config.storage.hash_tagged_names)
    except ValueError as error:
        return f"none: {error}"
    path = os.path.join(config.storage.root, os.fsdecode(below))
    try:
        found = file_archives(path)
    except FileNotFoundError:
        return f"{path} (does not exist yet)"
    except (OSError, CorruptFileError) as error:
        return f"{path} (cannot be used: {error})"
    if found == tuple(archives):
        return f"{path} (exists)"
    return f"{path} (exists, but keeps {shown_archives(found)})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist explain", description="Show what happens to a metric.")
    parser.add_argument("name", nargs="+", help="metric name")
    parser.add_argument("-c", "--config", metavar="FILE", help="configuration (default: carbon's, from GRAPHITE_ROOT)")
    parser.add_argument("--instance", default="a", help="instance of carbon.conf (default: a)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser
