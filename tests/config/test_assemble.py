"""Values by path."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.assemble import assembled, value_at
from cadtwist.config.model import CacheConfig, Config, WriterConfig


class AssembledTests(SynchronousTestCase):
    def test_sets_values_of_both_depths(self) -> None:
        config = assembled(Config(), {"user": "u", "writer.threads": 3, "writer.strategy": "max"})
        self.assertEqual(config, Config(user="u", writer=WriterConfig(threads=3, strategy="max")))

    def test_a_group_that_is_given_whole_takes_the_values_too(self) -> None:
        config = assembled(Config(), {"cache.max_points": 5.0, "cache": CacheConfig(max_bytes=7)})
        self.assertEqual(config.cache, CacheConfig(max_points=5.0, max_bytes=7))

    def test_a_missing_group_is_a_key_error(self) -> None:
        self.assertRaises(KeyError, assembled, Config(), {"cache.max_points": 5.0})

    def test_value_at(self) -> None:
        self.assertEqual(value_at(Config(), "writer.threads"), 1)
        self.assertEqual(value_at(Config(), "user"), "")
        self.assertIsNone(value_at(Config(), "cache.max_points"))
