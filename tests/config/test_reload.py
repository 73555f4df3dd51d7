"""What a running process takes of a new configuration."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import CacheConfig, Config, Listener, StagesConfig, WriterConfig
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, LineConfig, RelayConfig
from cadtwist.config.reload import clashes, difference, merged, rules_of
from cadtwist.config.rules import schema_rule
from tests.config.generated import configs

_OLD = Config(cache=CacheConfig())
_RULE = schema_rule("a", "x", "60:60")


class DifferenceTests(SynchronousTestCase):
    def test_equal_configurations_have_none(self) -> None:
        found = difference(_OLD, Config(cache=CacheConfig()))
        self.assertEqual((found.changes, found.refused), ((), ()))

    def test_tells_what_is_taken_and_what_is_refused(self) -> None:
        new = replace(
            _OLD,
            cache=CacheConfig(max_points=5),
            writer=WriterConfig(max_updates_per_second=7, threads=2),
            schemas=(_RULE,),
            listeners=(Listener(protocol="line", port=1),),
        )
        found = difference(_OLD, new)
        self.assertEqual(
            [str(change) for change in found.changes],
            [
                "cache.max_points: inf becomes 5",
                "writer.max_updates_per_second: 500.0 becomes 7",
                "schemas: changed",
            ],
        )
        self.assertEqual(
            [str(change) for change in found.refused], ["listeners: changed", "writer.threads: 1 becomes 2"]
        )

    def test_a_cache_that_comes_or_goes_is_refused(self) -> None:
        found = difference(_OLD, Config())
        self.assertEqual(found.changes, ())
        self.assertEqual([change.path for change in found.refused], ["cache.max_points", "cache.max_bytes"])

    def test_what_is_taken_must_fit_what_stays(self) -> None:
        def relay(name: str, to: str) -> Config:
            group = GroupConfig(members=(name,))
            return Config(
                listeners=(Listener(protocol="line", port=1, to=(to,)),),
                relays=(RelayConfig(name=name, groups=(group,)),),
                destinations=(DestinationConfig(name=name, host="h", port=1),),
            )

        old, new = relay("a", "a"), relay("b", "b")
        self.assertEqual(clashes(old, new), ("listeners.0.to: there is no relay 'a'",))
        self.assertEqual(clashes(old, old), ())

    def test_relays_that_come_or_go_are_refused(self) -> None:
        """A file that was just being written is empty."""
        relay = RelayConfig(name="a", groups=(GroupConfig(members=("a",)),))
        old = Config(relays=(relay,), destinations=(DestinationConfig(name="a", host="h", port=1),))
        for before, after in ((old, Config()), (Config(), old)):
            self.assertEqual([change.path for change in difference(before, after).refused], ["relays"])
        self.assertEqual(clashes(old, Config()), ("relays.0.groups.0.members: there is no destination 'a'",))

    def test_how_a_relay_reads_lines_is_refused_and_the_rest_of_it_taken(self) -> None:
        group, statsd = GroupConfig(members=("a",)), LineConfig(format="statsd")
        old = Config(
            relays=(RelayConfig(name="r", groups=(group,)), RelayConfig(name="s", groups=(group,), lines=statsd)),
            destinations=(DestinationConfig(name="a", host="h", port=1),),
        )
        found = difference(old, replace(old, relays=(replace(old.relays[0], lines=statsd), old.relays[1])))
        self.assertEqual(found.changes, ())
        self.assertEqual([str(change) for change in found.refused], ["relays.r.lines: changed"])
        two = replace(old.relays[0], lines=statsd, sample_share=0.5), RelayConfig(name="t", groups=(group,))
        self.assertEqual(
            merged(old, replace(old, relays=two)).relays, (replace(old.relays[0], sample_share=0.5), two[1])
        )

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(configs(), configs())
    def test_merged_leaves_only_what_is_refused(self, old: Config, new: Config) -> None:
        found = difference(old, new)
        left = difference(merged(old, new), new)
        self.assertEqual(left.changes, ())
        self.assertEqual([change.path for change in left.refused], [change.path for change in found.refused])


class RulesOfTests(SynchronousTestCase):
    def test_takes_rules_and_lists_and_nothing_else(self) -> None:
        new = replace(
            _OLD, schemas=(_RULE,), stages=StagesConfig(blacklist=("x",), min_resolution_s=5), user="somebody"
        )
        found = rules_of(_OLD, new)
        self.assertEqual((found.schemas, found.stages, found.user), ((_RULE,), StagesConfig(blacklist=("x",)), ""))
