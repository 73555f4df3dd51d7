"""The table of carbon.conf's options against the model and the spelling of values."""

from __future__ import annotations

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.carbonoptions import CARBON_OPTIONS, DOORS, GROUPS
from cadtwist.config.carbonrow import parse_value
from cadtwist.config.dattssoptions import DATTSS_OPTIONS
from cadtwist.config.istatoptions import ISTAT_OPTIONS
from cadtwist.config.options import OPTIONS
from cadtwist.config.relayoptions import RELAY_OPTIONS
from cadtwist.config.statsdsection import STATSD_OPTIONS


class TableTests(SynchronousTestCase):
    def test_every_target_is_a_value_of_the_model(self) -> None:
        paths = {row.path for row in OPTIONS}
        targets = [row.target for row in CARBON_OPTIONS.values() if row.target]
        self.assertEqual([target for target in targets if target not in paths], [])
        self.assertEqual(len(set(targets)), len(targets))

    def test_each_row_has_one_fate_and_one_name(self) -> None:
        for row in CARBON_OPTIONS.values():
            self.assertEqual(sum(map(bool, (row.target, row.effect, row.reason))), 1, row.name)
        self.assertEqual(len(CARBON_OPTIONS), sum(len(rows) for _, rows in GROUPS))

    def test_the_model_is_in_reach_of_carbon_conf(self) -> None:
        targets = {row.target for row in CARBON_OPTIONS.values()}
        own = {"program", "instance", "schemas", "aggregation", "storage.kind", "stages.normalise_tags"}
        own |= {"writer.low_fruit_rate", "storage.read_only"}
        effects = {"stages.blacklist", "stages.whitelist", "wal.directory", "log.directory"}
        others = {row.path for row in (*RELAY_OPTIONS, *ISTAT_OPTIONS, *DATTSS_OPTIONS, *STATSD_OPTIONS)}
        others |= {"stages.rewrite", "stages.post_rewrite", "writer.low_fruit_rate"}
        missing = {
            row.path
            for row in OPTIONS
            if row.path not in targets | own | effects | others and "listeners" not in row.path
        }
        self.assertEqual(missing, set())

    def test_doors_have_their_options(self) -> None:
        for door in DOORS:
            self.assertIn(f"{door.prefix}_INTERFACE", CARBON_OPTIONS)
            self.assertIn(f"{door.prefix}_PORT", CARBON_OPTIONS)


class ParseValueTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        for text in ("yes", "ON", "True", "1"):
            self.assertIs(parse_value("bool", text), True)
        for text in ("no", "Off", "FALSE", "0"):
            self.assertIs(parse_value("bool", text), False)
        self.assertEqual(parse_value("int", "1000"), 1000)
        self.assertEqual(parse_value("int", "1e6"), 1000000)
        self.assertEqual(parse_value("int", "123456789012345678901"), 123456789012345678901)
        self.assertEqual(parse_value("float", "inf"), inf)
        self.assertEqual(parse_value("list", " a, b ,,"), ("a", "b"))
        self.assertEqual(parse_value("text", "12"), "12")

    def test_misspellings(self) -> None:
        for kind, text in (("bool", ""), ("int", "x"), ("int", "inf"), ("int", "1.5"), ("int", "nan"), ("float", "")):
            self.assertRaises(ValueError, parse_value, kind, text)
