"""Faults between the values of accumulators."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.accumulatorchecks import accumulator_faults
from cadtwist.config.accumulatormodel import AccumulatorConfig, AccumulatorWriterConfig, BinConfig, DriverConfig
from cadtwist.config.model import CacheConfig, Config, StorageConfig
from cadtwist.config.relaymodel import LineConfig, ProcessesConfig, RelayConfig


def writer(driver: str = "whisper", dsn: str = "w", index: str = "noop", **options: str) -> AccumulatorWriterConfig:
    metrics = DriverConfig(driver=driver, dsn=dsn, options=tuple(options.items()))
    return AccumulatorWriterConfig(metrics=metrics, indexer=DriverConfig(driver=index))


class AccumulatorFaultsTests(SynchronousTestCase):
    relays = (
        RelayConfig(name="s", lines=LineConfig(format="statsd")),
        RelayConfig(name="g"),
        RelayConfig(name="r", lines=LineConfig(format="regex", regex="(?P<Key>x)")),
    )

    def places(self, *accumulators: AccumulatorConfig, **changes: Any) -> list[Any]:
        config = Config(relays=self.relays, accumulators=accumulators, **changes)
        return [".".join(map(str, place)) for place, _ in accumulator_faults(config)]

    def test_good_ones(self) -> None:
        one = AccumulatorConfig(name="a", relay="s", backend="g")
        other = AccumulatorConfig(name="b", relay="r", backend="cache", input_format="graphite")
        self.assertEqual(self.places(one, other, AccumulatorConfig(name="c", relay="g", input_format="graphite"),
                                     cache=CacheConfig()), [])  # fmt: skip

    def test_what_does_not_fit(self) -> None:
        good = AccumulatorConfig(name="a", relay="s")
        for faulty, place in (
            (replace(good, backend="cache"), "backend"),
            (replace(good, relay="x"), "relay"),
            (replace(good, backend="g", output_format="statsd"), "output_format"),
            (replace(good, input_format="graphite"), "input_format"),
            (replace(good, name=""), "name"),
            (replace(good, options=(("percentThreshold", "1,x"),)), "options.0"),
            (replace(good, options=(("percent", "1"),)), "options.0"),
            (replace(good, bins=()), "bins"),
        ):
            self.assertEqual(self.places(faulty), [f"accumulators.0.{place}"])
        self.assertEqual(self.places(good, good), ["accumulators.1.name", "accumulators.1.relay"])
        self.assertEqual(
            self.places(replace(good, backend="cache", output_format="statsd"), cache=CacheConfig()),
            ["accumulators.0.output_format"],
        )

    def test_one_process_adds_up(self) -> None:
        good = AccumulatorConfig(name="a", relay="s")
        self.assertEqual(self.places(good, processes=ProcessesConfig(workers=2)), ["processes.workers"])

    def test_writers(self) -> None:
        bins = (BinConfig(resolution_s=10.0, ttl_s=3600.0),)
        first = AccumulatorConfig(name="a", relay="s", bins=bins, writer=writer())
        second = AccumulatorConfig(name="b", relay="r", bins=bins, writer=writer(dsn="x/../w"))
        self.assertEqual(self.places(first, second), [])
        for faulty, place in (
            (writer("kafka"), "metrics"), (writer(dsn=""), "metrics"), (writer(xFilesFactor="x"), "metrics"),
            (writer(index="mysql"), "indexer"),
        ):  # fmt: skip
            self.assertEqual(self.places(replace(first, writer=faulty)), [f"accumulators.0.writer.{place}"])
        other = replace(second, writer=writer(xFilesFactor="0.1"))
        self.assertEqual(self.places(first, other), ["accumulators.1.writer.metrics"])
        other = replace(second, bins=(BinConfig(resolution_s=20.0, ttl_s=3600.0),))
        self.assertEqual(self.places(first, other), ["accumulators.1.writer.metrics"])
        storage = StorageConfig(root="w")
        self.assertEqual(self.places(first, storage=storage), [])
        found = self.places(first, storage=storage, cache=CacheConfig())
        self.assertEqual(found, ["accumulators.0.writer.metrics"])
