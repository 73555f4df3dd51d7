"""Tests of `cadtwist.codec.statsdadmin`: recorded replies are in `tests.stages.test_statsd`."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.statsdadmin import reply


class Facts:
    """What statsd would answer, and what was deleted."""

    def __init__(self) -> None:
        self.healthy = True
        self.deleted: list[tuple[str, list[str]]] = []

    def stats(self) -> list[tuple[str, float]]:
        return [("uptime", 5.0), ("graphite.flush_time", 0.5)]

    def table(self, kind: str) -> dict[str, float]:
        return {"a": 1.0, "a.b": 2.0, "a.c": 3.0, "ab.c": 4.0}

    def delete(self, kind: str, names: Sequence[str]) -> None:
        self.deleted.append((kind, list(names)))

    def shown(self) -> list[str]:
        return ["port: 1"]


class ReplyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.facts = Facts()

    def ask(self, text: str) -> str | None:
        found = reply(text.encode(), self.facts)
        return None if found is None else found.decode()

    def test_simple_commands(self) -> None:
        for command, answer in {
            "help\r\n": "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, "
            "quit\n\n",
            " stats ": "uptime: 5\ngraphite.flush_time: 0.5\nEND\n\n",
            "gauges": "{ a: 1, 'a.b': 2, 'a.c': 3, 'ab.c': 4 }\nEND\n\n",
            "config": "\nport: 1\n",
            "quit": None,
            "Quit": "ERROR\n",
            "": "ERROR\n",
            "delsets a": "ERROR\n",
            "del": "ERROR\n",
        }.items():
            self.assertEqual(self.ask(command), answer, command)

    def test_any_bytes(self) -> None:
        self.assertEqual(reply(b"\xff\x00\n", self.facts), b"ERROR\n")
        self.assertEqual(reply(b"delgauges \xe1 z\xa0\n", self.facts), b"deleted: a\nmetric z not found\nEND\n\n")

    def test_health(self) -> None:
        answers = [self.ask(f"health{text}") for text in ("", " DOWN", "", " sideways", " Up")]
        self.assertEqual(answers, [f"health: {s}\n" for s in ("up", "down", "down", "down", "up")])

    def test_deleting(self) -> None:
        answer = "deleted: a.b\ndeleted: a.c\nmetric a.b not found\nmetric x not found\ndeleted: a\nEND\n\n"
        self.assertEqual(self.ask("delcounters a.* a.b x a"), answer)
        self.assertEqual(self.facts.deleted, [("c", ["a.b", "a.c", "a"])])
        self.assertEqual(self.ask("deltimers"), "END\n\n")
        self.assertEqual(self.facts.deleted[1:], [("ms", [])])
