"""`cadtwist explain NAME...`: what each stage decides about a metric; its schema, file and owner, or who it is sent to.

Nothing needs to run: the same rules are asked that the daemon asks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

from cadtwist.cli.storecheck import file_archives, node_archives, shown_archives
from cadtwist.config.accumulatormodel import AccumulatorConfig, DriverConfig
from cadtwist.config.load import load
from cadtwist.config.model import Config, IstatConfig
from cadtwist.config.relaymodel import RelayConfig
from cadtwist.errors import ConfigError
from cadtwist.kernels.ceresformat import CorruptNodeError, relative_folder
from cadtwist.kernels.statformat import counter_path, munge
from cadtwist.kernels.whisperformat import CorruptFileError, relative_path
from cadtwist.model.cadentstyle import cadent_style, reduce_method, statsd_name, told_names
from cadtwist.model.prereg import Verdict
from cadtwist.model.retention import Archive
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.routing.routers import Router
from cadtwist.routing.routes import targets
from cadtwist.services.accumulatorwriters import kept_config
from cadtwist.services.chains import GRAPHITE, group_label, name_rules, space_of, targets_of
from cadtwist.services.routers import Sections, preregs_of, refusal, router_of
from cadtwist.stages.names import Outcome
from cadtwist.stages.rollup import carets, levels_above
from cadtwist.storage.schemas import SchemaTable

__all__ = ["Step", "explain", "run"]


_KINDS = {"c": "counter", "g": "gauge", "ms": "timer", "s": "set"}

Routers = dict[tuple[str, int], Router]
"""By relay and number of the group."""


class Step(NamedTuple):
    """One station of a metric's way: which one, about which name, and what was decided there."""

    station: str
    metric: str
    decided: str


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Explain every name of `argv`; 2 when the configuration is faulty."""
    asked = _parser().parse_args(list(argv))
    try:
        config = load(
            asked.config,
            program=asked.program,
            instance=asked.instance,
            environ=environ,
            overrides={"prereg": asked.prereg} if asked.prereg else None,
        ).config
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    routers: Routers = {}
    told = {name: list(explain(config, name, routers)) for name in asked.name}
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


def explain(config: Config, name: str, routers: Routers | None = None) -> Iterator[Step]:
    """Yield what happens to metric `name` under `config`, in the order of the data's walk.

    `routers` keeps what is built for the first name, for those that follow.
    """
    routers = {} if routers is None else routers
    names = [name]
    if config.cache is not None or any(space_of(relay.lines) == GRAPHITE for relay in config.relays):
        names = yield from _renamed(config, names)
    for relay in _entered(config):
        key, _, kind = name.partition("|")
        keyed = space_of(relay.lines) != GRAPHITE
        for each in (key,) if keyed else names:
            yield from _relayed(config, relay, each, routers, kind if keyed else "")
    if config.cache is not None:
        yield from _stored(config, names)
    if config.istat is not None:
        yield from _counted(config.istat, name)


def _renamed(config: Config, names: list[str]) -> Generator[Step, None, list[str]]:
    """Yield what the rules about names say; return what they make of `names`."""
    for rule in name_rules(config):
        outcomes = {each: rule(each) or Outcome((each,)) for each in names}
        for each, outcome in outcomes.items():
            yield Step(rule.label, each, _shown_outcome(each, outcome.names, outcome.reason))
        names = [result for outcome in outcomes.values() for result in outcome.names]
    return names


def _entered(config: Config) -> list[RelayConfig]:
    """Return the relays that listeners lead to; the first one, where none does."""
    doors = [door for door in config.listeners if door.protocol in ("line", "pickle", "protobuf")]
    entries = {target for door in doors for target in targets_of(config, door)}
    found = [relay for relay in config.relays if relay.name in entries]
    return found or list(config.relays[:1] if config.cache is None else ())


def _relayed(
    config: Config, relay: RelayConfig, name: str, routers: Routers, kind: str = "", *, raw: bool = True
) -> Iterator[Step]:
    """Yield what the filters of relays say about a name that comes in at `relay`, and who gets it from each group.

    `kind`: the type of a statsd line.  What is not `raw` was made by an accumulator, and passes no other.
    """
    station = "relay" if len(config.relays) == 1 else f"relay {relay.name}"
    preregs = preregs_of(config, raw)
    verdict = Sections(preregs, relay.name).decide(name) if relay.name in preregs else Verdict(relay.name)
    if relay.name in preregs:
        matched = verdict.filter or "no filter"
        decided = "rejected" if verdict.rejected else f"goes to {verdict.backend}"
        yield Step(station, name, f"{matched}: {decided}")
    accumulator = next((each for each in config.accumulators if raw and each.relay == verdict.backend), None)
    if accumulator is not None:
        yield from _accumulated(config, accumulator, name, routers, kind)
        return
    destinations = {each.name: each for each in config.destinations}
    for target in config.relays:
        for number, group in enumerate(target.groups if target.name == verdict.backend else ()):
            label = f"group {group_label(target, number)}"
            refuse = refusal(group, destinations, space_of(target.lines))
            refused = None if refuse is None else refuse(name)
            if refused is not None and not refused.names:
                yield Step(label, name, f"dropped ({refused.reason})")
                continue
            if (target.name, number) not in routers:
                routers[target.name, number] = router_of(group, destinations, config.aggregate_rules)
            router = routers[target.name, number]
            yield Step(label, name, router.explain(name))
            reached = [destinations[key].address for key in targets(router.route(name), None, None, True)]
            yield Step("sent to", name, ", ".join(reached) or "nobody")


def _accumulated(
    config: Config, accumulator: AccumulatorConfig, name: str, routers: Routers, kind: str
) -> Iterator[Step]:
    """Yield what an accumulator makes of a name, where that goes, and how it is written."""
    station = f"accumulator {accumulator.name}"
    yield Step(station, name, f"added up every {accumulator.flush_s:g} s as {accumulator.input_format}")
    told: dict[str, tuple[str, ...]] = {}
    if accumulator.input_format == "graphite":
        made = statsd_name(name) if accumulator.output_format == "statsd" else name
        told = {reduce_method(name): (made,)}
    else:
        as_statsd = accumulator.output_format == "statsd"
        style, naming = cadent_style(dict(accumulator.options), accumulator.flush_s, accumulator.keep_keys, as_statsd)
        kinds = [kind] if kind in _KINDS else list(_KINDS)
        told = {_KINDS[each]: told_names(name, each, style, naming) for each in kinds}
    for what, names in told.items() if accumulator.backend else ():
        yield Step(station, name, f"{what}: {', '.join(names)}")
    backend = next((each for each in config.relays if each.name == accumulator.backend), None)
    if backend is not None and len(told) == 1:
        for each in next(iter(told.values())):
            yield from _relayed(config, backend, each.rpartition("|")[0] or each, routers, raw=False)
    elif accumulator.backend:
        yield Step(station, name, f"goes to {accumulator.backend}; add |c, |g, |ms or |s to the name to see how")
    if accumulator.writer is not None:
        yield from _written(config, accumulator, accumulator.writer.metrics, name)


def _written(config: Config, accumulator: AccumulatorConfig, driver: DriverConfig, name: str) -> Iterator[Step]:
    """Yield where the bins of a name are written."""
    if driver.driver == "whisper":
        yield from _stored(kept_config(config, driver, accumulator.bins), [name])
    else:
        files = (f"{driver.dsn}_{each.resolution_s:g}s" for each in accumulator.bins)
        yield Step("lines", name, ", ".join(files))


def _stored(config: Config, names: Sequence[str]) -> Iterator[Step]:
    """Yield how each name is kept."""
    table = SchemaTable(config.schemas, config.aggregation)
    for each in names:
        decision = table.explain(each)
        archives, xff, method = decision.schema
        yield Step("schema", each, f"[{decision.schema_rule}] {shown_archives(archives)}")
        yield Step("aggregation", each, f"[{decision.aggregation_rule}] {method}, xFilesFactor {xff:g}")
        if config.storage.kind != "memory":
            yield Step("file", each, _file(config, each, archives))
        yield Step("owner", each, f"{config.program}, instance {config.instance}")


def _counted(istat: IstatConfig, name: str) -> Iterator[Step]:
    """Yield which counters a name means, and where each is kept and sent."""
    counters = carets(name.encode("utf-8"))
    if counters != (name.encode("utf-8"),):
        yield Step("counters", name, ", ".join(_text(each) for each in counters) or "none")
    for each in counters:
        if istat.agent:
            yield Step("sent to", _text(each), istat.agent)
        for level in levels_above(istat.rollup)(each) if istat.store else ():
            yield Step("folder", _text(level), _folder(istat, munge(level)))


def _folder(istat: IstatConfig, counter: bytes) -> str:
    try:
        path = os.path.join(istat.store, os.fsdecode(counter_path(counter)))
    except ValueError as error:
        return f"none: {error}"
    files = ", ".join(retention.name for retention in parse_stat_retentions(istat.retention))
    return f"{path}: {files} ({'exists' if os.path.isdir(path) else 'does not exist yet'})"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _shown_outcome(name: str, names: tuple[str, ...], reason: str) -> str:
    if not names:
        return f"dropped ({reason})"
    shown = "passes" if names == (name,) else f"becomes {', '.join(names)}"
    return f"{shown} ({reason})" if reason else shown


def _file(config: Config, name: str, archives: Sequence[Archive]) -> str:
    is_ceres = config.storage.kind == "ceres"
    try:
        below = (relative_folder if is_ceres else relative_path)(name.encode("utf-8"), config.storage.hash_tagged_names)
    except ValueError as error:
        return f"none: {error}"
    path = os.path.join(config.storage.root, os.fsdecode(below))
    try:
        found = (node_archives if is_ceres else file_archives)(path)
    except FileNotFoundError:
        return f"{path} (does not exist yet)"
    except (OSError, CorruptFileError, CorruptNodeError) as error:
        return f"{path} (cannot be used: {error})"
    if found == tuple(archives):
        return f"{path} (exists)"
    return f"{path} (exists, but keeps {shown_archives(found)})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist explain", description="Show what happens to a metric.")
    parser.add_argument("name", nargs="+", help="metric name, or key|type of a statsd line")
    parser.add_argument("-c", "--config", metavar="FILE", help="configuration (default: carbon's, from GRAPHITE_ROOT)")
    parser.add_argument("--instance", default="a", help="instance of carbon.conf (default: a)")
    parser.add_argument("--program", default="", help="section of carbon.conf, such as carbon-relay")
    parser.add_argument("--prereg", default="", metavar="FILE", help="Cadent's PreReg file")
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser
