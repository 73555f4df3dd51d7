"""The table of options covers the model, and its ranges hold for the defaults."""

from __future__ import annotations

from math import inf, nan

from msgspec import NODEFAULT
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener, TlsConfig
from cadtwist.config.options import OPTIONS, fault_of, leaves, option, struct_of, type_name


class OptionsTests(SynchronousTestCase):
    def test_one_row_per_value_of_the_model_in_its_order(self) -> None:
        self.assertEqual([row.path for row in OPTIONS], [path for path, _, _ in leaves()])

    def test_defaults_are_within_their_range(self) -> None:
        for path, _, default in leaves():
            if default is not NODEFAULT:
                self.assertIsNone(fault_of(path, default), path)

    def test_every_row_says_something(self) -> None:
        for row in OPTIONS:
            self.assertTrue(row.doc, row.path)
            self.assertLessEqual(row.low, row.high, row.path)

    def test_fault_of(self) -> None:
        self.assertEqual(fault_of("writer.threads", 65), "65 is out of range, 1 to 64")
        self.assertEqual(fault_of("limits.max_connections", 0), "0 is out of range, at least 1")
        self.assertIn("nan", fault_of("limits.max_connections", nan) or "")
        self.assertIsNone(fault_of("limits.max_connections", inf))
        self.assertIsNone(fault_of("storage.autoflush", True))
        self.assertIsNone(fault_of("no.such.row", 1))
        self.assertEqual(option("user").path, "user")

    def test_types_are_told_in_words(self) -> None:
        hints = {path: type_name(hint) for path, hint, _ in leaves()}
        self.assertEqual(hints["writer.on_shutdown_updates_per_second"], "number")
        self.assertEqual(hints["listeners.transport"], "tcp | udp | unix | endpoint | http")
        self.assertEqual(hints["stages.blacklist"], "list of texts")
        self.assertEqual(hints["schemas"], "list of tables")
        self.assertIs(struct_of(tuple[Listener, ...]), Listener)
        self.assertIs(struct_of(TlsConfig | None), TlsConfig)
        self.assertIsNone(struct_of(int))

    def test_the_model_compares_and_hashes_by_value(self) -> None:
        self.assertEqual(Config(), Config())
        self.assertEqual(hash(Config()), hash(Config()))
