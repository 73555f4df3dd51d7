from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.istatadmin import MAX_LINE_BYTES, MOST_WAITING, AdminConnection, AdminFactory
from tests.istatrig import golden

DEBUG = (
    "allKeys", "statTcp", "statUdp", "rejectedCounters", "record", "settings", "replica_of", "promServer",
    "promExporter", "loopback", "http", "admin", "log_args", "audit", "segv",
)  # fmt: skip


class FakeBackend:
    def __init__(self) -> None:
        self.debug = dict.fromkeys(DEBUG, False)
        self.log_levels = [3, 1]
        self.done: list[Any] = []
        self.counts: dict[str, int] = {}
        self.waits: Deferred[None] | None = None
        self.fake = True

    def stats(self) -> list[tuple[str, str]]:
        return [("http.port", "28310"), ("http.current", "0"), ("fakeTime.value", "1325395000")]

    async def flush(self) -> None:
        self.done.append("flush")
        if self.waits is not None:
            await self.waits

    def set_fake_time(self, time: int) -> bool:
        self.done.append(time)
        return self.fake

    def purge(self, most: int, age_s: int) -> None:
        self.done.append(("purge", most, age_s))

    async def delete(self, name: str) -> None:
        self.done.append(("delete", name))

    async def delete_matching(self, pattern: str) -> None:
        self.done.append(("pattern", pattern))

    def flush_setting(self, name: str) -> None:
        self.done.append(("save", name))

    def load_setting(self, name: str) -> None:
        if name == "broken":
            raise ValueError("no such set")
        self.done.append(("load", name))

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class AdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.back = FakeBackend()
        self.connect()

    def connect(self) -> None:
        self.connection: AdminConnection = AdminFactory(self.back).buildProtocol(None)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)

    def say(self, text: str) -> str:
        self.transport.clear()
        self.connection.dataReceived(text.encode())
        return self.transport.value().decode()

    def test_answers_as_recorded(self) -> None:
        for session in golden("admin", "sessions.json"):
            self.connect()
            self.assertEqual(self.say(session["send"]), session["recv"], session["send"])
        self.connect()
        recorded = golden("admin", "delete_effect.json")
        for command, reply in zip(recorded["commands"], recorded["replies"], strict=True):
            self.assertEqual(self.say(command + "\r\n"), reply)

    def test_what_commands_do(self) -> None:
        self.say("purge\npurge 5\npurge 5,6\nfaketime 7\ndelete.ctr a.b,c\nflush.setting x\nload.setting y\nflush\n")
        self.assertEqual(
            self.back.done,
            [
                ("purge", 0, 60), ("purge", 5, 60), ("purge", 5, 6), 7, ("delete", "a.b"), ("delete", "c"),
                ("save", "x"), ("load", "y"), "flush",
            ],
        )  # fmt: skip
        self.assertEqual(self.back.counts, {"connections": 1, "commands": 8})

    def test_wrong_words_are_answered(self) -> None:
        self.back.fake = False
        for command, reply in (
            ("\n", "huh? ('help' for help)"),
            ("faketime 5\n", "huh? Not started with --fake-time."),
            ("faketime x\n", "huh? bad lexical cast: source type value could not be interpreted as target"),
            ("debug http,maybe\n", "huh? Should be 'on' or 'off': maybe"),
            ("loglevel 1,6\n", "huh? loglevel must be between 0 and 5"),
        ):
            self.assertEqual(self.say(command), reply + "\r\n", command)
        self.assertEqual(self.back.log_levels, [3, 1])

    def test_commands_wait_for_the_one_at_work(self) -> None:
        self.back.waits = Deferred()
        self.assertEqual(self.say("flush\nloglevel\n"), "")
        self.back.waits.callback(None)
        self.assertEqual(self.transport.value(), b"ok\r\nloglevel 3 1\r\nok\r\n")

    def test_reads_no_more_while_very_many_wait(self) -> None:
        self.back.waits = waits = Deferred()
        self.say("flush\n" * MOST_WAITING)
        self.assertEqual(self.transport.producerState, "producing")
        self.say("flush\n" * 2)
        self.assertEqual(self.transport.producerState, "paused")
        self.back.waits = None
        waits.callback(None)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(len(self.back.done), MOST_WAITING + 2)

    def test_long_pipelines_and_long_lines(self) -> None:
        self.assertEqual(self.say("loglevel\r\n" * 500), "loglevel 3 1\r\nok\r\n" * 500)
        self.say("x" * (MAX_LINE_BYTES + 10) + "\n")
        self.assertTrue(self.transport.disconnecting)

    def test_quit_ends_the_connection(self) -> None:
        self.assertEqual(self.say("quit\nloglevel\n"), "")
        self.assertTrue(self.transport.disconnecting)

    def test_a_fault_is_told_and_the_connection_goes_on(self) -> None:
        self.assertEqual(self.say("load.setting broken\n"), "huh? no such set\r\n")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.say("purge\n"), "ok\r\n")

    def test_a_client_that_left_gets_nothing(self) -> None:
        self.back.waits = waits = Deferred()
        self.say("flush\nflush\n")
        self.connection.connectionLost()
        waits.callback(None)
        self.assertEqual((self.transport.value(), self.back.done), (b"", ["flush"]))
