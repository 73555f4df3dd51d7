"""Commands to Redis, over a handler that a test answers for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.net.redislink import RedisLink


class RefusedError(Exception):
    """What Redis refuses, as txredisapi tells it."""

    __module__ = "txredisapi"


class FakeHandler:
    def __init__(self) -> None:
        self.asked: list[tuple[bytes, ...]] = []
        self.answers: list[Deferred[Any]] = []
        self.ended = 0

    def execute_command(self, *command: bytes) -> Deferred[Any]:
        self.asked.append(command)
        answer: Deferred[Any] = Deferred()
        self.answers.append(answer)
        return answer

    def disconnect(self) -> Deferred[None]:
        self.ended += 1
        gone: Deferred[None] = Deferred()
        gone.callback(None)
        return gone


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.handlers: list[FakeHandler] = []
        self.link = RedisLink(self.clock, "redis://x:1/0", self.dial, timeout_s=2)

    def dial(self) -> FakeHandler:
        self.handlers.append(FakeHandler())
        return self.handlers[-1]

    def test_connects_once_and_passes_answers_on(self) -> None:
        first, second = self.link.ask(b"GET", b"a"), self.link.ask(b"PING")
        (handler,) = self.handlers
        self.assertEqual(handler.asked, [(b"GET", b"a"), (b"PING",)])
        handler.answers[0].callback(b"1")
        handler.answers[1].callback([b"PONG"])
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), (b"1", [b"PONG"]))
        self.clock.advance(10)

    def test_no_answer_is_an_error_in_time(self) -> None:
        asked = self.link.ask(b"GET", b"a")
        self.clock.advance(1.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        failure = self.failureResultOf(asked, StorageError)
        self.assertEqual(failure.getErrorMessage(), "redis://x:1/0: no answer in 2 s")

    def test_what_redis_refuses_is_an_error_of_the_storage(self) -> None:
        asked = self.link.ask(b"GET", b"a")
        self.handlers[0].answers[0].errback(RefusedError("WRONGTYPE"))
        self.assertIn("WRONGTYPE", self.failureResultOf(asked, StorageError).getErrorMessage())

    def test_a_fault_of_ours_stays_one(self) -> None:
        asked = self.link.ask(b"GET", b"a")
        self.handlers[0].answers[0].errback(KeyError("x"))
        self.failureResultOf(asked, KeyError)

    def test_closing_and_opening_again(self) -> None:
        self.successResultOf(self.link.close())
        self.link.open()
        self.successResultOf(self.link.close())
        self.assertEqual(self.handlers[0].ended, 1)
        self.link.ask(b"PING")
        self.assertEqual(len(self.handlers), 2)

    def test_a_missing_library_is_told(self) -> None:
        def dial() -> FakeHandler:
            raise StorageError("install cadtwist[redis]")

        asked = RedisLink(self.clock, "redis://x:1/0", dial).ask(b"PING")
        self.assertIn("cadtwist[redis]", self.failureResultOf(asked, StorageError).getErrorMessage())
