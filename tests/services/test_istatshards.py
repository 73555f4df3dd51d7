"""Shards within the test's process: samples and questions reach the others by values, not over sockets."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import Frames
from cadtwist.codec.shardframe import MOST_FRAME_BYTES
from cadtwist.kernels.statformat import CELL
from cadtwist.net.clusterhttp import Question, Reply
from cadtwist.query.istat import Selection
from cadtwist.query.shardanswer import (
    SELECT_TARGET,
    SelectQuestion,
    pack_question,
    pack_selections,
    read_question,
    read_selections,
)
from cadtwist.services.istat import IstatDaemon
from cadtwist.services.istatshards import ShardedAnswers
from cadtwist.web.answers import Answer
from cadtwist.web.istat import StatRequest, respond
from tests.services.istatdaemons import IstatCase

T = 1325394000
NAMES = "abc"
SHARDS = tuple(f"{name}=host-{name}:1,{number + 2}" for number, name in enumerate(NAMES))


class ShardsCase(IstatCase):
    """Daemons by name; those in `away` answer nobody, `spoilt` are answers in place of true ones, by target."""

    def setUp(self) -> None:
        super().setUp()
        self.nodes: dict[str, IstatDaemon] = {}
        self.away: set[str] = set()
        self.spoilt: dict[str, Reply] = {}
        self.asked: list[tuple[str, str]] = []

    def share(self, **changes: Any) -> None:
        for name in NAMES:
            self.nodes[name] = self.start(name, shards=SHARDS, shard_name=name, shard_port=1, **changes)
            self.join(self.nodes[name])

    def gateway(self) -> IstatDaemon:
        gateway = self.start("gateway", store=False, shards=SHARDS)
        self.join(gateway)
        return gateway

    def join(self, daemon: IstatDaemon) -> None:
        """Let a daemon's samples and questions reach the others here."""
        shards, backend = daemon.shards, daemon.backend
        assert shards is not None
        assert isinstance(backend, ShardedAnswers)
        for name, node in shards.nodes.items():
            node._ask = self.ask
            shards._destinations[name].send = self.sender(name)  # type: ignore[method-assign]

    def sender(self, name: str) -> Any:
        def send(chunk: bytes, _samples: int) -> None:
            node = self.nodes[name]
            assert node._foreign is not None
            node._foreign.factory.intake.feed(Frames(MOST_FRAME_BYTES), chunk, "a shard")

        return send

    def ask(self, question: Question, _timeout_s: float) -> Deferred[Reply]:
        parts = urlsplit(question.url)
        name = str(parts.hostname).removeprefix("host-")
        target = question.url.split(f":{parts.port}", 1)[1]
        self.asked.append((name, target))
        if name in self.away:
            return fail(OSError("refused"))
        for beginning, reply in self.spoilt.items():
            if target.startswith(beginning):
                return ensureDeferred(self.given(reply))
        headers = {key.lower(): value for key, value in question.headers.items()}
        request = StatRequest("GET" if question.body is None else "POST", target, headers, question.body)
        return ensureDeferred(self.answer(request, self.nodes[name]))

    async def given(self, reply: Reply) -> Reply:
        return reply

    async def answer(self, request: StatRequest, node: IstatDaemon) -> Reply:
        found = await respond(request, node.backend)
        return Reply(found.status, found.content_type, found.body)

    async def get(self, daemon: IstatDaemon, target: str, **headers: str) -> Answer:
        return await respond(StatRequest("GET", target, {"host": "x", **headers}), daemon.backend)

    async def post(self, daemon: IstatDaemon, target: str, body: object) -> Answer:
        return await respond(StatRequest("POST", target, {"host": "x"}, json.dumps(body).encode()), daemon.backend)

    async def many(self, daemon: IstatDaemon, *keys: str) -> Any:
        asked = {"keys": keys, "start": T, "stop": T + 100, "maxSamples": 0, "compact": True}
        return json.loads((await self.post(daemon, "/*", asked)).body)


class AnswerTests(ShardsCase):
    def test_any_of_them_answers_for_all(self) -> Any:
        return ensureDeferred(self.answers_for_all())

    async def answers_for_all(self) -> None:
        self.share()
        gateway = self.gateway()
        names = [f"s.n{number}" for number in range(30)]
        for turn, daemon in enumerate([*self.nodes.values(), gateway]):
            self.send(daemon, *(f"{name.upper()} {T + 10 * turn} {turn}.1" for name in names), f"*s.e {T} 10")
        kept = [{name for name in names if name in node.tree} for node in self.nodes.values()]
        self.assertEqual(sorted(name for some in kept for name in some), sorted(names))
        self.assertTrue(all(kept))
        for daemon in [*self.nodes.values(), gateway]:
            found = await self.many(daemon, *names, "s.e", "no")
            self.assertEqual(found["no"], "Not found.")
            self.assertEqual([[cell[4] for cell in found[name]["data"]] for name in names], [[0.1, 1.1, 2.1, 3.1]] * 30)
            self.assertEqual(found["s.e"]["data"][0][4], 4.0)
            listed = json.loads((await self.get(daemon, "/?q=s*")).body)["matching_names"]
            self.assertEqual([entry["name"] for entry in listed], sorted(["s", "s.e", *names]))
            self.assertEqual((listed[0]["type"], listed[0]["is_leaf"]), (2, False))
            self.assertEqual((await self.get(daemon, f"/s.n3?start={T}&end={T + 50}&format=csv")).status, 200)
            self.assertEqual((await self.get(daemon, "/no")).status, 404)

    def test_one_question_for_each_shard(self) -> Any:
        return ensureDeferred(self.one_question())

    async def one_question(self) -> None:
        self.share()
        self.send(self.nodes["a"], *(f"s.n{number} {T} 1" for number in range(50)))
        self.asked.clear()
        await self.many(self.nodes["a"], *(f"s.n{number}" for number in range(50)))
        self.assertEqual(sorted(self.asked), [("b", SELECT_TARGET), ("c", SELECT_TARGET)])

    def test_what_is_away_is_said_to_be_missing(self) -> Any:
        return ensureDeferred(self.said_to_be_missing())

    async def said_to_be_missing(self) -> None:
        self.share()
        names = [f"s.n{number}" for number in range(30)]
        self.send(self.nodes["a"], *(f"{name} {T} 1" for name in names))
        gone = [name for name in names if name in self.nodes["b"].tree]
        self.away.add("b")
        answer = await self.get(self.nodes["a"], "/?q=s.*")
        self.assertEqual(answer.headers["X-Cadtwist-Missing"], "b")
        self.assertEqual(json.loads(answer.body)["partial"], ["b"])
        found = await self.many(self.nodes["a"], *names)
        self.assertEqual([name for name in names if isinstance(found[name], str)], gone)
        one = await self.get(self.nodes["a"], f"/{gone[0]}")
        self.assertEqual((one.status, json.loads(one.body)), (503, {"error": "shard b does not answer"}))
        asked = len(self.asked)
        await self.get(self.nodes["a"], f"/{gone[0]}")
        self.assertEqual(len(self.asked), asked, "nobody waits for it again at once")

    def test_gibberish_is_no_answer(self) -> Any:
        return ensureDeferred(self.gibberish())

    async def gibberish(self) -> None:
        self.share()
        names = [f"s.n{number}" for number in range(30)]
        self.send(self.nodes["a"], *(f"{name} {T} 1" for name in names))
        for target, ask in ((SELECT_TARGET, self.many), ("/?q=", self.listed), ("/?a=", self.listed)):
            for body in (b"", b"[]", b"{}", b"x" * 60, b'{"matching_names":3}', b'{"agents":[1]}'):
                self.spoilt = {target: Reply(200, "", body)}
                self.rest()
                await ask(self.nodes["a"], *names)
        self.assertEqual(self.flushLoggedErrors(), [])

    def rest(self) -> None:
        """Let everybody ask everybody again."""
        for daemon in self.nodes.values():
            assert daemon.shards is not None
            for node in daemon.shards.nodes.values():
                node._rests_until = 0.0

    async def listed(self, daemon: IstatDaemon, *_names: str) -> None:
        for target in ("/?q=*", "/?a=*"):
            self.assertEqual((await self.get(daemon, target)).status, 200)

    def test_copies(self) -> Any:
        return ensureDeferred(self.copies())

    async def copies(self) -> None:
        self.share(shard_copies=2)
        names = [f"s.n{number}" for number in range(30)]
        self.send(self.nodes["c"], *(f"{name} {T} 1" for name in names))
        for gone in NAMES:
            self.away = {gone}
            self.rest()
            for name in set(NAMES) - {gone}:
                found = await self.many(self.nodes[name], *names)
                self.assertEqual([found[each]["data"][0][1] for each in names], [1] * 30)

    def test_agents_of_all(self) -> Any:
        return ensureDeferred(self.agents_of_all())

    async def agents_of_all(self) -> None:
        self.share()
        self.send(self.nodes["b"], "#hostname web1")
        self.away.add("c")
        told = json.loads((await self.get(self.nodes["a"], "/?a=*")).body)
        self.assertEqual([(agent["hostname"], agent["_shard"]) for agent in told["agents"]], [("web1", "b")])


class SettingsTests(ShardsCase):
    def test_a_set_is_where_its_name_says(self) -> Any:
        return ensureDeferred(self.sets())

    async def sets(self) -> None:
        self.share()
        gateway = self.gateway()
        for number in range(9):
            answer = await self.post(self.nodes[NAMES[number % 3]], f"/?s=u{number}", {"a": number, "b": ""})
            self.assertEqual(answer.body, b'{"success":true}')
        for daemon in [*self.nodes.values(), gateway]:
            bodies = [(await self.get(daemon, f"/?s=u{number}")).body for number in range(9)]
            self.assertEqual(bodies, [b'{"a":"%d"}\n' % number for number in range(9)])
            self.assertEqual((await self.get(daemon, "/?s=nobody")).status, 404)
        await self.post(gateway, "/?s=u1", {"a": ""})
        self.assertEqual((await self.get(self.nodes["a"], "/?s=u1")).status, 404)
        self.away = set(NAMES)
        self.assertEqual((await self.get(gateway, "/?s=u1")).status, 503)
        self.assertEqual((await self.post(gateway, "/?s=u1", {"a": "1"})).status, 503)


class WireTests(SynchronousTestCase):
    def test_questions(self) -> None:
        asked = SelectQuestion(["a.b", "\u00fc"], 1, 2, 3, True)
        self.assertEqual(read_question(pack_question(asked)), asked)
        for wrong in (b"", b"[]", b"{}", b'{"names":[1],"start":1,"end":1,"most":1}',
                      b'{"names":["a"],"start":-1,"end":1,"most":1}', b'{"names":["a"],"start":1.5,"end":1,"most":1}',
                      b"[" * 100000):  # fmt: skip
            with self.assertRaises(ValueError):
                read_question(wrong)

    def test_answers(self) -> None:
        cells = np.zeros(3, CELL)
        cells["time"], cells["sum"], cells["count"] = [T, T + 10, T + 20], [1e300, 0.1, -0.0], [1, 2, 3]
        data = pack_selections([None, Selection(T, T + 30, 10, cells), Selection(1, 2, 3, cells[:0])])
        none, full, empty = read_selections(data, 3)
        self.assertIsNone(none)
        assert full is not None
        assert empty is not None
        self.assertEqual((full[:3], full.cells.tobytes()), ((T, T + 30, 10), cells.tobytes()))
        self.assertEqual((empty[:3], len(empty.cells)), ((1, 2, 3), 0))
        for wrong in (data[:-1], data + b"x", b"", data[:40]):
            with self.assertRaises(ValueError):
                read_selections(wrong, 3)
