"""Another shard, asked over HTTP that a test answers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.shard import Shard
from cadtwist.net.clusterhttp import Question, Reply
from cadtwist.net.shardnode import ShardAwayError, ShardNode
from cadtwist.telemetry import Account


class NodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Question] = []
        self.answers: list[Any] = []
        self.account = Account("node")
        self.node = ShardNode(self.clock, Shard("b", "h", 1, 2), self.ask, 5.0, self.account, {"X-Cadtwist-Shard": "a"})

    def ask(self, question: Question, timeout_s: float) -> Deferred[Reply]:
        self.assertEqual(timeout_s, 5.0)
        self.asked.append(question)
        answer: Deferred[Reply] = Deferred()
        if self.answers:
            answer.callback(self.answers.pop(0))
        self.last = answer
        return answer

    def get(self, *answers: Any) -> Deferred[Any]:
        self.answers = list(answers)
        return ensureDeferred(self.node.ask("/x", None))

    def test_asks_as_a_shard(self) -> None:
        reply = self.successResultOf(self.get(Reply(404, "", b"no")))
        self.assertEqual(reply.status, 404)
        (question,) = self.asked
        self.assertEqual(
            (question.url, question.body, question.headers), ("http://h:2/x", None, {"X-Cadtwist-Shard": "a"})
        )

    def test_who_does_not_answer_is_left_alone_longer_and_longer(self) -> None:
        for rest_s in (1, 2, 4, 8, 16, 30, 30):
            asked = self.get()
            waiting = len(self.asked)
            self.failing(asked)
            self.failureResultOf(self.get(), ShardAwayError)
            self.assertEqual(len(self.asked), waiting, "nobody was asked")
            self.clock.advance(rest_s - 0.1)
            self.assertTrue(self.node.resting)
            self.clock.advance(0.2)
            self.assertFalse(self.node.resting, rest_s)
        self.successResultOf(self.get(Reply(200, "", b"")))
        self.failing(self.get())
        self.clock.advance(1.1)
        self.assertFalse(self.node.resting)
        self.assertEqual((self.account.counters["failures"], self.account.counters["skipped"]), (8, 7))

    def failing(self, asked: Deferred[Any]) -> None:
        self.last.errback(OSError("refused"))
        self.failureResultOf(asked, ShardAwayError)

    def test_a_fault_of_its_own_is_no_answer(self) -> None:
        self.failureResultOf(self.get(Reply(503, "", b"")), ShardAwayError)
        self.assertTrue(self.node.resting)

    def test_what_cannot_be_read_is_no_answer(self) -> None:
        error = self.node.spoilt("gibberish")
        self.assertIsInstance(error, ShardAwayError)
        self.assertTrue(self.node.resting)

    def test_who_asks_and_leaves_says_nothing_of_the_shard(self) -> None:
        asked = self.get()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertFalse(self.node.resting)
