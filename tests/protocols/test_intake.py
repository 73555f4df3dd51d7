"""Reads become Batches, once a turn; faults further on cost a Batch, never a connection."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

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

    def test_a_failing_sink_costs_its_batch(self) -> None:
        receiving = Receiving()

        def fail() -> None:
            raise RuntimeError("a fault further on")

        receiving.sink.then = fail
        connection, transport = receiving.connect()
        connection.dataReceived(b"a 1 2\n")
        receiving.turn()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        receiving.sink.then = lambda: None
        connection.dataReceived(b"b 1 2\n")
        receiving.turn()
        self.assertEqual(receiving.account.dropped, {"internal_error": 1})
        self.assertEqual((receiving.account.received, receiving.account.out, receiving.account.balance()), (2, 1, 0))
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
