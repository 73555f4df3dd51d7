"""Which kinds of lines fit together."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import CacheConfig, Config, Listener
from cadtwist.config.relayforms import form_faults
from cadtwist.config.relaymodel import DestinationConfig, FilterRule, GroupConfig, LineConfig, RelayConfig

LINE = Listener(protocol="line", port=1)
DESTINATIONS = (
    DestinationConfig(name="l", host="h", port=1),
    DestinationConfig(name="p", host="h", port=2, protocol="pickle"),
)


def relay(name: str, form: str = "graphite", **values: object) -> RelayConfig:
    groups = (GroupConfig(members=("l",), **values),)  # type: ignore[arg-type]
    return RelayConfig(name=name, lines=LineConfig(format=form), groups=groups)  # type: ignore[arg-type]


class FormTests(SynchronousTestCase):
    """Each contradiction has a place."""

    def places(self, **values: object) -> list[str]:
        config = Config(destinations=DESTINATIONS, **values)  # type: ignore[arg-type]
        return [".".join(map(str, place)) for place, _ in form_faults(config)]

    def test_what_fits(self) -> None:
        doors = (LINE, Listener(protocol="pickle", port=2, to=("a", "cache")), Listener(protocol="http", port=3))
        self.assertEqual(
            self.places(cache=CacheConfig(), listeners=doors, relays=(relay("a"), relay("s", "statsd"))), []
        )
        self.assertEqual(self.places(listeners=(LINE,), relays=(relay("s", "statsd", prefix="x."),)), [])
        self.assertEqual(self.places(listeners=(LINE,)), [])

    def test_listeners(self) -> None:
        both = (Listener(protocol="line", port=1, to=("a", "s")), Listener(protocol="line", port=2, to=("s", "cache")))
        relays = (relay("a"), relay("s", "statsd"))
        self.assertEqual(
            self.places(cache=CacheConfig(), listeners=both, relays=relays), ["listeners.0.to", "listeners.1.to"]
        )
        pickles = (Listener(protocol="pickle", port=1),)
        self.assertEqual(self.places(listeners=pickles, relays=(relay("s", "statsd"),)), ["listeners.0.to"])

    def test_destinations(self) -> None:
        for values, place in (({"prefix": "x."}, "prefix"), ({"suffix": ".x"}, "suffix")):
            found = RelayConfig(groups=(GroupConfig(members=("l", "p"), **values),))  # type: ignore[arg-type]
            self.assertEqual(self.places(relays=(found,)), [f"relays.0.groups.0.{place}"])
        statsd = RelayConfig(lines=LineConfig(format="statsd"), groups=(GroupConfig(members=("p",)),))
        self.assertEqual(self.places(relays=(statsd,)), ["relays.0.groups.0.members"])

    def test_lines_of_which_nobody_reads_the_numbers(self) -> None:
        door = Listener(protocol="line", port=1, to=("cache", "a"))
        for lines in (LineConfig(validate=False), LineConfig(cleaning="c_relay"), LineConfig(cleaning="cadent")):
            found = RelayConfig(name="a", lines=lines, groups=(GroupConfig(members=("l", "p")),))
            wanted = [] if lines.cleaning == "cadent" else ["listeners.0.to", "relays.0.groups.0.members"]
            self.assertEqual(self.places(cache=CacheConfig(), listeners=(door,), relays=(found,)), wanted)
            self.assertEqual(self.places(listeners=(LINE,), relays=(replace(found, groups=()),)), [])

    def test_redirections(self) -> None:
        rule = FilterRule(kind="noop", action="redirect", relay="s")
        first = RelayConfig(name="a", filters=(rule,), default_relay="s")
        found = self.places(relays=(first, relay("s", "statsd")))
        self.assertEqual(found, ["relays.0.filters.0", "relays.0.default_relay"])
