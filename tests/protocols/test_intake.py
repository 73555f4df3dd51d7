"""Reads become Batches, once a turn; faults further on cost a Batch, never a connection."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.stages.names import NameMap
from tests.protocols.parts import NamingSink, Receiving


class IntakeTests(SynchronousTestCase):
    def test_small_reads_of_many_connections_are_one_batch(self) -> None:
        receiving = Receiving()
        for number in range(10):
            connection, _ = receiving.connect()
            for byte in b"m%d 1 2\n" % number:
                connection.dataReceived(bytes([byte]))
        self.assertEqual(receiving.sink.batches, 0)
        receiving.turn()
        self.assertEqual(receiving.sink.batches, 1)
        self.assertEqual(receiving.sink.points, [(f"m{number}", 2.0, 1.0) for number in range(10)])

    def test_a_turn_ends_after_what_was_passed_on_at_once(self) -> None:
        receiving = Receiving(rows=4)
        connection, _ = receiving.connect()
        connection.dataReceived(b"bad\n")
        self.assertFalse(receiving.due)
        connection.dataReceived(b"a 1 2\n" * 4)
        self.assertEqual((len(receiving.sink.points), receiving.intake.codec.pending), (4, 0))
        self.assertTrue(receiving.due)

    def test_the_account_balances_and_counts(self) -> None:
        receiving = Receiving(rows=4)
        connection, _ = receiving.connect()
        connection.dataReceived(b"a 1 2\n" * 9 + b"bad\n\nx nan 1\n")
        receiving.turn()
        account = receiving.account
        self.assertEqual((account.received, account.out, account.balance()), (9, 9, 0))
        self.assertEqual(
            account.counters,
            {"connections": 1, "bytes": 67, "lines": 12, "bad.fields": 1, "bad.empty": 1, "bad.nan": 1},
        )

    def test_a_failing_part_costs_what_it_had_of_the_batch(self) -> None:
        receiving = Receiving()
        further_on = receiving.telemetry.account("further on")
        names = NameMap([], receiving.table, receiving.sink, receiving.telemetry.account("names"))
        receiving.intake.replace_sink(names)

        def fail() -> None:
            further_on.received += 3
            further_on.out += 1
            raise RuntimeError("a fault further on")

        def take() -> None:
            further_on.received += 1
            further_on.out += 1

        receiving.sink.then = fail
        connection, transport = receiving.connect()
        connection.dataReceived(b"a 1 2\n" * 3)
        receiving.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        receiving.sink.then = take
        connection.dataReceived(b"b 1 2\n")
        receiving.turn()
        accounts = receiving.telemetry.accounts
        self.assertEqual({name: one.dropped for name, one in accounts.items() if one.dropped},
                         {"further on": {"internal_error": 2}})  # fmt: skip
        self.assertEqual([(one.received, one.out, one.balance()) for one in accounts.values()],
                         [(4, 4, 0), (4, 2, 0), (4, 4, 0)])  # fmt: skip
        self.assertFalse(transport.disconnecting)

    def test_another_sink_takes_over_between_two_points(self) -> None:
        receiving = Receiving()
        connection, _ = receiving.connect()
        connection.dataReceived(b"a 1 2\n")
        second = NamingSink(receiving.table)
        receiving.intake.replace_sink(second)
        connection.dataReceived(b"b 1 2\n")
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)])
        self.assertEqual(second.points, [("b", 2.0, 1.0)])

    def test_stop_emits_what_waits(self) -> None:
        receiving = Receiving()
        connection, _ = receiving.connect()
        connection.dataReceived(b"a 1 2\n")
        receiving.intake.stop()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)])
