"""Several stores as one: each keeps its share of the counters, and any of them answers for all.

A counter belongs to the shards that the hash of its name gives.  Samples for others go there as frames, over a
destination with a spool; questions go there over HTTP.  What a shard that does not answer keeps is missing in an
answer, which says so; nobody waits for such a shard again before it has rested.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import quote

from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from cadtwist.codec.shardframe import MOST_FRAME_BYTES, ShardCodec, ShardEncoder
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.errors import StorageError
from cadtwist.flow import Gate
from cadtwist.interfaces import ISummarySink
from cadtwist.journal.backlog import Backlog
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.journal.seen import Seen
from cadtwist.model.shard import Shard, parse_shard
from cadtwist.model.summary import SummaryBatch
from cadtwist.net.clusterhttp import Ask, HttpAsk
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.net.shardnode import ShardAwayError, ShardNode
from cadtwist.protocols.carbonpickle import FrameConnection
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.query.countertree import AGGREGATE, CounterTree, Found
from cadtwist.query.istat import Selection
from cadtwist.query.shardanswer import ASKED_BY, SELECT_TARGET, SelectQuestion, pack_question, read_selections
from cadtwist.routing.shards import ShardMap
from cadtwist.services.istatparts import Answers
from cadtwist.services.sequence import Step
from cadtwist.services.turn import Turn
from cadtwist.stages.rollup import NameSpread, levels_above
from cadtwist.stages.shards import ShardStage
from cadtwist.storage.settings import FileSettings
from cadtwist.telemetry import Account
from cadtwist.web.istat import AwayError, Listed, Selected, SettingsBackend, StatFile

__all__ = ["ShardConnection", "ShardReceiver", "ShardedAnswers", "ShardedSettings", "Shards"]

MOST_ANSWER_BYTES = 256 << 20
CONNECT_S = 3.0
SPOOL_BYTES = 1 << 30
_NOT_FOUND = 404
_OK = 200

ShardConnection = partial(FrameConnection, max_bytes=MOST_FRAME_BYTES)
"""A connection of another shard that brings samples."""


@implementer(ISummarySink)
class _Outward:
    """Sends samples to another shard."""

    def __init__(self, encoder: ShardEncoder, destination: Destination) -> None:
        self._encoder = encoder
        self._destination = destination

    def accept(self, batch: SummaryBatch) -> None:
        """Send a batch."""
        for chunk, samples in self._encoder.encode(batch):
            self._destination.send(chunk, samples)


class Shards:
    """The other shards of a configuration: where samples for them go, whom to ask.  Reactor thread."""

    def __init__(
        self,
        reactor: Any,
        config: IstatConfig,
        table: Any,
        account: Callable[[str], Account],
        ask: Ask | None = None,
        make_destination: Callable[..., Destination] = Destination,
    ) -> None:
        self.map = ShardMap([parse_shard(text) for text in config.shards], config.shard_name, config.shard_copies)
        self._reactor = reactor
        self._config = config
        self._account = account
        self._make_destination = make_destination
        self._table = table
        self._http: HttpAsk | None = None
        if ask is None:
            ask = self._http = HttpAsk(reactor, MOST_ANSWER_BYTES, CONNECT_S)
        headers = {ASKED_BY.title(): config.shard_name or "gateway"}
        self.nodes = {
            shard.name: ShardNode(reactor, shard, ask, config.shard_timeout_s, account(f"shard {shard.name}"), headers)
            for shard in self.map.others
        }
        self._encoder = ShardEncoder(table, os.urandom(16))
        self._destinations = {shard.name: self._destination(shard) for shard in self.map.others}

    def _destination(self, shard: Shard) -> Destination:
        limits = QueueLimits(max_bytes=64 << 20, policy="drop_oldest", spool_bytes=SPOOL_BYTES)
        options = DestinationOptions(host=shard.host, port=shard.port, divisible=False, limits=limits)
        backlog = Backlog(os.path.join(self._config.spool_folder, f"shard-{shard.name}"))
        account = self._account(f"samples to shard {shard.name}")
        return self._make_destination(self._reactor, f"shard {shard.name}", options, account, backlog=backlog)

    def sinks(self, own: ISummarySink | None) -> dict[str, ISummarySink]:
        """Return where the samples of each shard go; `own` keeps those of ours."""
        found: dict[str, ISummarySink] = {
            name: _Outward(self._encoder, destination) for name, destination in self._destinations.items()
        }
        if own is not None and self.map.own:
            found[self.map.own] = own
        return found

    def entry(self, own: ISummarySink | None, hold: Callable[[Any], object]) -> ISummarySink:
        """Return what leads into the stores of all shards: levels above a counter are shared like any counter.

        `hold` hears of what keeps state by id.
        """
        stage = ShardStage(self.map.keepers, self.sinks(own), self._table, self._account("shards"))
        spread = NameSpread(levels_above(self._config.rollup), self._table, stage, self._account("shared rollup"))
        hold(stage)
        hold(spread)
        return spread

    def answers(self, local: Answers, settings: SettingsBackend) -> ShardedAnswers:
        """Return what answers for all shards; settings in files are shared out as well."""
        in_files = isinstance(settings, FileSettings)
        return ShardedAnswers(local, self, ShardedSettings(settings, self) if in_files else settings)

    def services(self) -> Iterator[IService]:
        """Yield the parts that connect to other shards, and send what waits at the end."""
        yield Step("questions to shards", None, self._http.close if self._http is not None else None)
        for name, destination in self._destinations.items():
            yield Step(f"samples to shard {name}", destination.start, destination.close)

    def flush(self) -> None:
        """Send what waits for the end of the turn."""
        for destination in self._destinations.values():
            destination.flush()


def _all(works: Sequence[Coroutine[Any, Any, Any]]) -> Deferred[list[tuple[bool, Any]]]:
    """Wait for all, whatever becomes of each; cancelling cancels all."""
    return DeferredList([*map(ensureDeferred, works)], consumeErrors=True)


class ShardReceiver:
    """What takes samples from other shards; `given` are the further arguments of its intake.  Reactor thread.

    The samples are for our store as they are: nothing is made of their names.  `path` is the file that keeps which
    frames came.
    """

    _log = Logger()

    def __init__(
        self, path: str, table: Any, reactor: Any, turn: Turn, gate: Gate, account: Account, **given: Any
    ) -> None:
        self._seen = Seen(path)
        intake = Intake(
            "samples of shards",
            lambda emit: ShardCodec(
                table, cast("Any", emit), self._seen, lambda samples: account.count("duplicates", samples)
            ),
            gate=gate,
            account=account,
            begin=turn.begin,
            **given,
        )
        self.factory = ReceiverFactory(intake, ShardConnection, clock=reactor, limit=ConnectionLimit())

    def services(self) -> Iterator[IService]:
        """Yield what opens and closes the file, and ends connections."""
        yield Step("frames of shards", self._seen.open, self._seen.close)
        yield Step("connected shards", None, self.factory.disconnect)

    def write(self) -> None:
        """Keep what came in this turn; to be called when its samples are in the log."""
        try:
            self._seen.write()
        except StorageError as error:
            self._log.error("frames of shards: {error}", error=error)


class ShardedAnswers:
    """The Backend of HTTP where there are shards: what `local` has and what the others have."""

    def __init__(self, local: Answers, shards: Shards, settings: SettingsBackend) -> None:
        self.compat = local.compat
        self.settings = settings
        self.local = local
        self._map = shards.map
        self._nodes = shards.nodes
        self._nothing = CounterTree()

    @property
    def tree(self) -> CounterTree | None:
        """What this daemon itself has; one that keeps nothing answers for the others."""
        return self._nothing if self.local.tree is None else self.local.tree

    def now(self) -> int:
        """Return the time."""
        return self.local.now()

    def file(self, name: str) -> StatFile | None:
        """Return a file of the web app."""
        return self.local.file(name)

    async def select(self, name: str, start: int, end: int, most: int, trailing: bool) -> Selection | None:
        """Return a counter's cells, None where there is no such counter; AwayError."""
        (found,) = await self.select_many([name], start, end, most, trailing)
        if isinstance(found, AwayError):
            raise found
        return found

    async def select_many(
        self, names: Sequence[str], start: int, end: int, most: int, trailing: bool
    ) -> list[Selected]:
        """Ask the keepers of all counters at once; then, for what those do not tell, who keeps copies of them."""
        found: dict[str, Selected] = {}
        left = {name: list(self._map.asked(name.encode("utf-8", "replace"))) for name in names}
        for _ in range(max(1, self._map.copies)):
            groups: dict[str, list[str]] = {}
            for name, keepers in left.items():
                if keepers:
                    groups.setdefault(keepers.pop(0), []).append(name)
            if not groups:
                break
            works = [self._of(keeper, group, start, end, most, trailing) for keeper, group in groups.items()]
            for (good, told), group in zip(await _all(works), groups.values(), strict=True):
                if not good and told.check(ShardAwayError) is None:
                    told.raiseException()
                said = told if good else [AwayError(str(told.value))] * len(group)
                for name, selected in zip(group, said, strict=True):
                    if found.get(name) is None or not isinstance(selected, AwayError):
                        found[name] = selected if selected is not None else found.get(name)
            left = {name: keepers for name, keepers in left.items() if not isinstance(found.get(name), Selection)}
        return [found.get(name) for name in names]

    async def _of(
        self, keeper: str, names: list[str], start: int, end: int, most: int, trailing: bool
    ) -> Sequence[Selected]:
        """Return what one shard says."""
        if keeper == self._map.own:
            return await self.local.select_many(names, start, end, most, trailing)
        node = self._nodes[keeper]
        reply = await node.ask(SELECT_TARGET, pack_question(SelectQuestion(names, start, end, most, trailing)))
        try:
            if reply.status != _OK:
                raise ValueError(f"it answers {reply.status}")
            return read_selections(reply.body, len(names))
        except ValueError as error:
            raise node.spoilt(str(error)) from None

    async def matching(self, pattern: str) -> Listed:
        """Return what matches in all shards; what is a level above others anywhere is one."""
        kinds = dict((await self.local.matching(pattern)).found)
        asked = list(self._nodes.values())
        away = []
        for node, (good, told) in zip(asked, await _all([_list(node, pattern) for node in asked]), strict=True):
            if not good:
                if told.check(ShardAwayError) is None:
                    told.raiseException()
                away.append(node.shard.name)
                continue
            for name, kind in told:
                kinds[name] = AGGREGATE if AGGREGATE in (kind, kinds.get(name)) else kind
        return Listed([Found(name, kinds[name]) for name in sorted(kinds)], tuple(away))

    async def all_agents(self) -> Sequence[Mapping[str, object]]:
        """Return the connections of all shards, each with the shard that has it; those of dead ones are missing."""
        found = [{**agent, "_shard": self._map.own} for agent in self.local.agents()]
        asked = list(self._nodes.values())
        for node, (good, told) in zip(asked, await _all([_agents(node) for node in asked]), strict=True):
            if good:
                found += [{**agent, "_shard": node.shard.name} for agent in told]
            elif told.check(ShardAwayError) is None:
                told.raiseException()
        return found


async def _list(node: ShardNode, pattern: str) -> list[tuple[str, int]]:
    reply = await node.ask(f"/?q={quote(pattern, safe='')}")
    try:
        told = json.loads(reply.body)["matching_names"]
        return [(str(entry["name"]), int(entry["type"])) for entry in told]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise node.spoilt("its list cannot be read") from None


async def _agents(node: ShardNode) -> list[dict[str, object]]:
    reply = await node.ask("/?a=*")
    try:
        return [dict(agent) for agent in json.loads(reply.body)["agents"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise node.spoilt("its agents cannot be read") from None


class ShardedSettings:
    """Sets of settings, each in the files of the shards that keep its name."""

    def __init__(self, local: SettingsBackend, shards: Shards) -> None:
        self._local = local
        self._map = shards.map
        self._nodes = shards.nodes

    async def get(self, name: str) -> dict[str, str] | None:
        """Return a set from the first of its keepers that answers; AwayError where none does."""
        away: ShardAwayError | None = None
        for keeper in self._map.asked(b"settings." + name.encode("ascii", "replace")):
            if keeper == self._map.own:
                return await self._local.get(name)
            node = self._nodes[keeper]
            try:
                reply = await node.ask(f"/?s={quote(name, safe='')}")
                if reply.status == _NOT_FOUND:
                    return {} if reply.body.strip() == b"null" else None
                return {str(key): str(value) for key, value in json.loads(reply.body).items()}
            except ShardAwayError as error:
                away = error
            except (ValueError, AttributeError, RecursionError):
                away = node.spoilt("its settings cannot be read")
        raise AwayError(str(away or "no shard keeps settings"))

    async def put(self, name: str, changes: Mapping[str, str]) -> None:
        """Change values at every keeper; AwayError unless all of them took the changes."""
        keepers = self._map.asked(b"settings." + name.encode("ascii", "replace"))
        works = [self._put(keeper, name, changes) for keeper in keepers]
        for good, told in await _all(works):
            if not good:
                if told.check(ShardAwayError) is None:
                    told.raiseException()
                raise AwayError(str(told.value))
        if not keepers:
            raise AwayError("no shard keeps settings")

    async def _put(self, keeper: str, name: str, changes: Mapping[str, str]) -> None:
        if keeper == self._map.own:
            await self._local.put(name, changes)
            return
        reply = await self._nodes[keeper].ask(f"/?s={quote(name, safe='')}", json.dumps(dict(changes)).encode())
        if reply.status != _OK:
            raise StorageError(f"shard {keeper} answers {reply.status}")
