"""Tests of `cadtwist.protocols.dattss`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.dattss import Datagram, DattssKeys
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.dattss import ValueIntake
from cadtwist.telemetry import Account


class IntakeTests(SynchronousTestCase):
    def test_values_are_handed_on_and_all_else_is_counted(self) -> None:
        keys, account, found = DattssKeys("secret"), Account("udp"), []
        intake = ValueIntake(keys, True, found.extend, account, BadInputLog(Clock().seconds))
        data = f"{keys.key('u')}:p:s:5c\n{keys.key('u')}x:p:s:5c\n:::\n{keys.key('u')}:p:s:1.5c\n".encode()
        asked: list[int] = []

        def peer(place: int) -> str:
            asked.append(place)
            return f"peer{place}"

        self.assertEqual(intake.datagrams(data, peer, lambda _: 0), 1)
        self.assertEqual(found, [Datagram("u", "p.s", 5, "c", False)])
        self.assertEqual(
            account.counters, {"bytes": len(data), "lines": 4, "bad.auth": 1, "bad.value": 2}
        )
        self.assertEqual(len(asked), 3)
        self.assertEqual(data[asked[0] :][:10], data.split(b"\n")[1][:10])

    def test_without_the_process_in_front(self) -> None:
        keys, found = DattssKeys("secret"), []
        intake = ValueIntake(keys, False, found.extend, Account("udp"), BadInputLog(Clock().seconds))
        intake.datagrams(f"{keys.key('u')}:p:s:5c".encode(), lambda _: "", lambda _: 0)
        self.assertEqual(found, [Datagram("u", "s", 5, "c", False)])
