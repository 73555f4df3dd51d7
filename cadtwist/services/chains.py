"""The stages between the listeners and what keeps or sends datapoints, made of a Config; a reload makes another set.

::

    doors -> names (rules of [stages]) -> window (aggregation rules) -> post rewrite -+-> the cache
                                                                                      +-> relay
    relay: sections (filters) -+-> each group: flood, router -> destinations
                               +-> accumulator -> sections of its backend -> each group

A chain belongs to the targets (`to`) of listeners, and to one key space.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from twisted.logger import Logger

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import GroupConfig, LineConfig, RelayConfig
from cadtwist.errors import ConfigError
from cadtwist.interfaces import ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Ids
from cadtwist.model.rules import PatternList
from cadtwist.routing.alike import arcs_of
from cadtwist.routing.stage import RouterStage
from cadtwist.services.flushing import TimedStage
from cadtwist.services.routers import Sections, ingress, preregs_of, router_of
from cadtwist.services.space import GRAPHITE, KEYS, SERIES, Space, space_of
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.stages.flood import FloodLimits, FloodStage
from cadtwist.stages.names import BlacklistRule, NameMap, NameRule, NormaliseTags, Outcome, Rewrite, WhitelistRule
from cadtwist.stages.outputs import Outputs
from cadtwist.stages.switch import Sample, Switch, Tee
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.services.accumulating import Accumulation
    from cadtwist.services.accumulators import Accumulator
    from cadtwist.services.accumulatorwriters import SummaryWriter

__all__ = [
    "CACHE",
    "GRAPHITE",
    "KEYS",
    "SERIES",
    "Chain",
    "Chains",
    "group_label",
    "name_rules",
    "reading_of",
    "space_of",
    "spaces_of",
    "targets_of",
    "told_to",
]

CACHE = "cache"
_SLICE = 128
_WINDOW_BYTES = 4 << 30
_log = Logger()


def name_rules(config: Config) -> list[NameRule]:
    """Return the rules between the receivers and what comes behind, in order."""
    stages = config.stages
    rules: list[NameRule] = []
    if stages.blacklist:
        rules.append(BlacklistRule(PatternList(stages.blacklist)))
    if stages.whitelist:
        rules.append(WhitelistRule(PatternList(stages.whitelist)))
    if stages.normalise_tags:
        rules.append(NormaliseTags())
    if stages.rewrite:
        rules.append(Rewrite(stages.rewrite))
    return rules


def renamed(rules: Iterable[NameRule], name: str) -> tuple[str, ...]:
    """Return what rules make of a name, each of the results of the one before; nothing where one of them drops it."""
    names = [name]
    for rule in rules:
        outcomes = [rule(each) or Outcome((each,)) for each in names]
        names = [result for outcome in outcomes for result in outcome.names]
    return tuple(dict.fromkeys(names))


def targets_of(config: Config, door: Listener) -> tuple[str, ...]:
    """Return where a listener's datapoints go: as it says, else to the cache, else to the first relay."""
    return told_to(config, door.to)


def told_to(config: Config, to: tuple[str, ...]) -> tuple[str, ...]:
    """Return where datapoints go that are for `to`: empty = the cache, else the first relay."""
    if to:
        return to
    return (CACHE,) if config.cache is not None else tuple(relay.name for relay in config.relays[:1])


def reading_of(config: Config, targets: tuple[str, ...]) -> tuple[str, LineConfig | None]:
    """Return whose key space the names are in that come in for `targets`, and how lines are read for them.

    None: they are read as datapoints, and nobody relays them as they came.
    """
    relays = [relay for relay in config.relays if relay.name in targets]
    if not relays:
        return GRAPHITE, None
    lines = relays[0].lines
    anew = config.stages.min_resolution_s and all(map(_may_be_written_anew, relays))
    return space_of(lines), None if anew else lines


def spaces_of(config: Config) -> list[str]:
    """Return the names of all key spaces that a configuration needs."""
    told = () if config.health_metrics is None else (KEYS,)
    series = [SERIES] if config.accumulators else []
    return list(dict.fromkeys((GRAPHITE, *told, *(space_of(relay.lines) for relay in config.relays), *series)))


@dataclass(frozen=True)
class Chain:
    """What listeners deliver into: `first` of the stages over `space`.

    `lines` tells how lines are read that are relayed as they came (None: nobody relays them); `numbers`: timestamps
    and values are wanted as well; `arcs`: names that are routed alike may share an id.
    """

    space: Space
    first: ISink
    lines: LineConfig | None
    numbers: bool
    arcs: active.arcs.Arcs | None


class Chains:
    """Every chain of a Config.  Reactor thread.

    `sinks` are by the names that listeners may give: `cache`, if there is one.  `destinations` have keys of their own;
    `make_router(group, router, space, account)` gives the last stage of a group.  `hold` and `release` make the
    stages known to their key spaces.
    """

    def __init__(
        self,
        config: Config,
        spaces: Mapping[str, Space],
        cache: ISink | None,
        make_router: Callable[..., Any] | None,
        telemetry: Telemetry,
        now: Callable[[], float],
        writer_of: Callable[[AccumulatorConfig], SummaryWriter | None] = lambda _: None,
        before: Chains | None = None,
    ) -> None:
        self.config = config
        self._writer_of = writer_of
        self._spaces = spaces
        self._cache = cache
        self._make_router = make_router
        self._telemetry = telemetry
        self._now = now
        self._stages: list[tuple[Space, Any]] = []
        self._holders: list[tuple[Space, Any]] = []
        self._before = {} if before is None else before.windows
        self._accumulation: Accumulation | None = None
        self.windows: dict[tuple[str, ...], Window] = {}
        self.floods: list[FloodStage] = []
        self.routers: dict[str, list[Any]] = {}
        self.health = self._health_sink()
        self._groups = {relay.name: self._group_sink(relay) for relay in config.relays}
        self._entries = self._sections(self._inputs(before), True)
        self._chains: dict[tuple[str, ...], Chain] = {}
        for door in config.listeners:
            if door.protocol in ("line", "pickle", "protobuf"):
                self.chain(targets_of(config, door))
        if config.statsd is not None:
            self.chain(told_to(config, config.statsd.to))

    def chain(self, targets: tuple[str, ...]) -> Chain:
        """Return the chain to `targets`, made at the first call."""
        found = self._chains.get(targets)
        if found is None:
            found = self._chains[targets] = self._made(targets)
        return found

    def entry(self, relay: str) -> ISink:
        """Return what datapoints meet first that are born here for a relay: no rules about names, no window."""
        return self._entries[relay]

    @property
    def stages(self) -> list[Any]:
        """Every stage that decides about names."""
        return [stage for _, stage in self._stages]

    def adopt(self, old: Chains) -> None:
        """Take over what is open in the windows of `old`, into which nothing more is delivered."""
        for targets, window in self.windows.items():
            former = old.windows.pop(targets, None)
            if former is not None:
                window.adopt(former)
        if self._accumulation is not None and old._accumulation is not None:
            self._accumulation.adopt(old._accumulation)

    def begin(self) -> None:
        """Take the place of the former set, which has told all that it kept."""
        self._before = {}
        if self._accumulation is not None:
            self._accumulation.begin()

    @property
    def accumulators(self) -> Mapping[str, Accumulator]:
        """The accumulators by their names."""
        return {} if self._accumulation is None else self._accumulation.accumulators

    @property
    def timed(self) -> list[TimedStage]:
        """Return what tells by time, in the order of the data's walk."""
        accumulation = self._accumulation
        return [*self.windows.values(), *([] if accumulation is None else accumulation.stages)]

    def finish(self) -> None:
        """Send what stages have absorbed: nothing comes into them any more."""
        if self._accumulation is not None:
            self._accumulation.finish()
        for window in self.windows.values():
            window.finish(self._now())
        for flood in self.floods:
            flood.finish()

    def hold(self) -> None:
        """Let the key spaces ask our stages before a name goes."""
        for space, stage in self._stages + self._holders:
            space.keys.hold(stage)
        if self._accumulation is not None:
            self._accumulation.hold()

    def release(self) -> None:
        """Let the key spaces forget our stages, and the outputs of windows our decisions."""
        for window in self.windows.values():
            window.discard()
        if self._accumulation is not None:
            self._accumulation.release()
        for space, stage in self._stages + self._holders:
            space.keys.release(stage)

    def priming(self) -> Iterator[None]:
        """Decide about every living name, the last stages first, some at each step."""
        for space, stage in self._stages:
            ids = space.table.live()
            for start in range(0, len(ids), _SLICE):
                # a name that has gone meanwhile is decided about when it comes back
                with contextlib.suppress(KeyError):
                    stage.prime(ids[start : start + _SLICE], _SLICE)
                yield

    def explain(self, targets: tuple[str, ...], name: str) -> list[str]:
        """Return for people what each stage says about a name that comes in for `targets`."""
        space = self.chain(targets).space
        return [stage.explain(name) for owner, stage in reversed(self._stages) if owner is space]

    # how they are made

    def _made(self, targets: tuple[str, ...]) -> Chain:
        relays = [relay for relay in self.config.relays if relay.name in targets]
        kind, lines = reading_of(self.config, targets)
        space = self._spaces[kind]
        sinks = [self._cache if target == CACHE else self._entries[target] for target in targets]
        present = [sink for sink in sinks if sink is not None]
        label = " " + " ".join(targets) if self._chains else ""
        first = present[0] if len(present) == 1 else Tee(present, self._telemetry.account(f"tee{label}"))
        if space.name == GRAPHITE and self.config.aggregator is not None:
            first = self._window(targets, space, first, label, self.config.aggregator)
        if space.name == GRAPHITE:
            account = self._telemetry.account(f"names{label}")
            names = NameMap(name_rules(self.config), space.table, first, account)
            self._stages.append((space, names))
            first = names
        redirected = any(relay.filters or relay.default_relay for relay in relays)
        reached = self.config.relays if redirected else relays
        numbers = CACHE in targets or targets in self.windows or any(self._wants_numbers(relay) for relay in reached)
        numbers = numbers or (self._accumulation is not None and self._accumulation.wants_numbers)
        arcs = self._arcs(relays[0], space) if relays and len(targets) == 1 and not numbers else None
        return Chain(space, first, lines, numbers, arcs)

    def _arcs(self, relay: RelayConfig, space: Space) -> active.arcs.Arcs | None:
        """Return what spares a relay remembering names; None where somebody on the way has to know each of them.

        Who normalises tags need not: names that may have some stand for themselves.
        """
        entry, stages = self._entries[relay.name], self.config.stages
        if relay.lines.format != "graphite" or stages.blacklist or stages.whitelist or stages.rewrite:
            return None
        if not isinstance(entry, RouterStage) or ingress(relay.groups[0]) is not None:
            return None
        return arcs_of(entry.router, space.table)

    def _window(
        self, targets: tuple[str, ...], space: Space, downstream: ISink, label: str, given: AggregatorConfig
    ) -> Window:
        """Return the window before `downstream`; a reload's goes on with the outputs of the former one."""
        stages, rules = self.config.stages, self.config.aggregate_rules
        if stages.post_rewrite:
            account = self._telemetry.account(f"post rewrite{label}")
            post = NameMap([Rewrite(stages.post_rewrite)], space.table, downstream, account)
            self._stages.append((space, post))
            downstream = post
        policy = WindowPolicy(
            max_intervals=given.max_intervals, write_back_s=given.write_back_s, forward_all=given.forward_all
        )
        former = self._before.get(targets)
        if former is not None:
            window = former.replaced(rules, policy, downstream)
        else:
            account = self._telemetry.account(f"aggregator{label}")
            missed = partial(_log_misses, space) if given.log_misses else None
            outputs = Outputs(max_bytes=_WINDOW_BYTES)
            window = Window(
                rules, space.table, downstream, account, self._now, time.perf_counter, policy, outputs, missed
            )
            account.gauge("allocated_buffers", lambda: len(outputs))
            account.gauge("intervals", lambda: outputs.buckets.cells)
        self.windows[targets] = window
        self._stages.append((space, window))
        return window

    def _wants_numbers(self, relay: RelayConfig) -> bool:
        protocols = {each.name: each.protocol for each in self.config.destinations}
        return any(protocols[name] != "line" for group in relay.groups for name in group.members)

    def _sections(self, sinks: Mapping[str, ISink], raw: bool) -> dict[str, ISink]:
        """Return by relay what its lines meet first: the filters of all relays, where there are any, else its sink.

        `raw`: lines that came in; the others are made by accumulators.
        """
        preregs = preregs_of(self.config, raw)
        entries: dict[str, ISink] = {}
        for relay in self.config.relays:
            if relay.name not in preregs:
                entries[relay.name] = sinks[relay.name]
                continue
            space = self._spaces[space_of(relay.lines)]
            account = self._telemetry.account(f"sections {relay.name}{'' if raw else ' of accumulators'}")
            switch = Switch(Sections(preregs, relay.name), sinks, space.table, account)
            self._stages.append((space, switch))
            entries[relay.name] = switch
        return entries

    def _inputs(self, before: Chains | None) -> dict[str, ISink]:
        """Return by relay what takes the lines that came in for it: its accumulator, else its groups."""
        config = self.config
        if not config.accumulators:
            return self._groups
        from cadtwist.services.accumulating import Accumulation  # noqa: PLC0415 (only where lines are added up)

        former = None if before is None else before._accumulation
        made = Accumulation(config, self._spaces, self._telemetry, self._now, self._writer_of, former)
        self._accumulation = made
        numbers = any(self._wants_numbers(each) for each in config.relays)
        return {**self._groups, **made.inputs(self._sections(self._groups, False), self._cache, numbers)}

    def _group_sink(self, relay: RelayConfig) -> ISink:
        space = self._spaces[space_of(relay.lines)]
        sinks = [self._router(relay, number, group, space) for number, group in enumerate(relay.groups)]
        first = sinks[0] if len(sinks) == 1 else Tee(sinks, self._telemetry.account(f"groups {relay.name}"))
        if relay.sample_share < 1.0:
            account = self._telemetry.account(f"sample {relay.name}")
            return Sample(relay.sample_share, first, account, np.random.default_rng())
        return first

    def _router(self, relay: RelayConfig, number: int, group: GroupConfig, space: Space) -> ISink:
        config = self.config
        destinations = {each.name: each for each in config.destinations}
        router = router_of(group, destinations, config.aggregate_rules)
        account = self._telemetry.account(f"router {group_label(relay, number)}")
        if self._make_router is None:
            raise ConfigError([f"{relay.name}: there is nothing to relay with"])
        stage: ISink = self._make_router(group, router, space, account)
        self.routers.setdefault(relay.name, []).append(stage)
        self._stages.append((space, stage))
        return self._flooded(group, stage, space, f"flood {group_label(relay, number)}")

    def _health_sink(self) -> ISink | None:
        """Return what takes the lines of health metrics, None where they are not told."""
        health = self.config.health_metrics
        if health is None or self._make_router is None:
            return None
        space = self._spaces[KEYS]
        router = router_of(health.group, {each.name: each for each in self.config.destinations})
        stage: ISink = self._make_router(health.group, router, space, self._telemetry.account("router health metrics"))
        self._stages.append((space, stage))
        return stage

    def _flooded(self, group: GroupConfig, downstream: ISink, space: Space, label: str) -> ISink:
        """Return what controls floods before `downstream`, itself where nothing is to be controlled."""
        given = group.sampling
        counters, timers, gauges = limits = [
            FloodLimits(each.threshold, each.window_s, each.cardinality)
            for each in (given.counters, given.timers, given.gauges)
        ]
        if not any(each.active for each in limits):
            return downstream
        stage = FloodStage(
            counters,
            timers,
            gauges,
            space.table,
            downstream,
            self._telemetry.account(label),
            now=self._now(),
            extremes=given.timer_flush_min_max,
            purge_interval_s=given.purge_interval_s,
            key_ttl_s=given.key_ttl_s,
            old_rates=given.old_rate_form,
            refuse=ingress(group),
        )
        self.floods.append(stage)
        self._holders.append((space, stage))
        return stage


def group_label(relay: RelayConfig, number: int) -> str:
    """Return the name of a group for people and counters."""
    name = relay.groups[number].name
    return f"{relay.name}.{name or number}" if name or len(relay.groups) > 1 else relay.name


def _may_be_written_anew(relay: RelayConfig) -> bool:
    """Tell whether the lines of a relay are datapoints, and no more than that: then their times can be rounded."""
    lines = relay.lines
    plain = lines.format == "graphite" and lines.validate and lines.cleaning == "none" and not lines.strict
    return plain and not any(group.prefix or group.suffix for group in relay.groups)


def _log_misses(space: Space, ids: Ids) -> None:
    """Log each datapoint that no rule is about, as LOG_AGGREGATOR_MISSES asks for."""
    for name in space.table.names(ids):
        _log.info("Couldn't match metric {name} with any aggregation rule", name=name.decode("utf-8", "replace"))
