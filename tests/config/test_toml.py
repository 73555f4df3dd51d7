"""Every Config survives being written as TOML and read again."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.model import CacheConfig, Config, Listener
from cadtwist.config.native import load_native
from cadtwist.config.toml import to_toml, toml_value
from tests.config.generated import configs


def _nothing(path: str) -> str:
    raise AssertionError(f"{path} is read")


def read_back(config: Config) -> tuple[Config, list[str]]:
    problems = Problems()
    return load_native(to_toml(config), "x.toml", _nothing, problems), problems.texts("error")


class ToTomlTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(configs())
    def test_round_trip(self, config: Config) -> None:
        self.assertEqual(read_back(config), (config, []))

    def test_round_trip_of_the_defaults(self) -> None:
        self.assertEqual(read_back(Config()), (Config(), []))

    def test_writes_limits_and_listeners_readably(self) -> None:
        config = Config(cache=CacheConfig(max_points=2e6), listeners=(Listener(protocol="line", port=2003),))
        text = to_toml(config)
        self.assertIn("max_points = 2000000.0\n", text)
        self.assertIn("max_connections = inf\n", text)
        self.assertIn('[[listeners]]\nprotocol = "line"\ntransport = "tcp"\ninterface = "0.0.0.0"\nport = 2003\n', text)

    def test_strings(self) -> None:
        self.assertEqual(toml_value(r"^a\.b"), r"'^a\.b'")
        self.assertEqual(toml_value("it's \\d"), '"it\'s \\\\d"')
        self.assertEqual(toml_value('a"b\x00\x7f\n'), '"a\\"b\\u0000\\u007f\\n"')
        self.assertEqual(toml_value(("a", "b")), '["a", "b"]')
        self.assertEqual(toml_value(True), "true")
