"""Tests of `cadtwist.model.cadentstyle`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.cadentstyle import (
    CadentNaming,
    cadent_style,
    guessed_rules,
    method_named,
    read_method,
    reduce_method,
    statsd_name,
    stored_method,
)


class GuessTests(SynchronousTestCase):
    def test_how_a_bin_is_reduced(self) -> None:
        for name, method in {
            "a.lower_90": "min", "a.min": "min", "a.upper.sum": "max", "a.max": "max", "a.sum": "sum",
            "stats.gauges.a": "last", "a.abs": "last", "stats.counters.a": "sum", "a.counts": "sum",
            "a.errors": "sum", "a.b": "avg", "sum.a": "avg",
        }.items():  # fmt: skip
            self.assertEqual(reduce_method(name), method, name)

    def test_which_value_is_stored(self) -> None:
        for name, method in {
            "a.mean": "average", "a.mean_90": "average", "a.avg": "average", "account.x": "sum", "a.requests": "sum",
            "x.sum": "sum", "x.errors": "sum", "x.std": "average", "x.average": "average", "x.upper_99": "max",
            "x.max": "max",
            "mean.x": "average", "my.requests.x": "average", "sums.a": "average",
            "x.min": "min", "x.lower": "min", "x.y": "average", "mean.count": "sum",
            "upper.x": "average",
        }.items():  # fmt: skip
            self.assertEqual(stored_method(name), method, name)

    def test_how_later_versions_read(self) -> None:
        for name, method in (
            ("a.Lower", "min"), ("a.upper", "max"), ("a.hits", "sum"), ("a.ok", "sum"), ("a.gauge", "last"),
            ("stats_counts.x", "sum"), ("stats.count.x", "sum"), ("stats.gauges.x", "last"), ("a.count_90", "sum"),
            ("a.upper_99", "max"), ("a.min_5", "min"), ("a.median_5", "average"), ("a.counting", "average"),
            ("a.upper;stat=min", "min"), ("a.upper;host=x", "max"), ("count.a", "average"), ("", "average"),
        ):  # fmt: skip
            self.assertEqual(read_method(name), method, name)
        self.assertEqual([method_named(word) for word in ("max", " Hits", "none", "")], ["max", "sum", None, None])

    def test_exactly_one_rule_is_about_a_name(self) -> None:
        for name in ("a.lower", "a.upper", "a.sum", "a.gauges.x", "a.b", "a.count"):
            found = [rule.method for rule in guessed_rules(10) if rule.output_of(name)]
            self.assertEqual(found, [reduce_method(name)])

    def test_what_a_bin_is_to_a_statsd(self) -> None:
        for name, told in {
            "stats.counters.a.b": "a.b|c", "stats.gauges.x": "x|g", "a.sum": "a.sum|c", "a.stats.timers.b": "a.b|g",
            "stats.counters.stats.counters.a": "stats.counters.a|c", "a": "a|g",
        }.items():  # fmt: skip
            self.assertEqual(statsd_name(name), told)


class NamingTests(SynchronousTestCase):
    def named(self, naming: CadentNaming, *fields: tuple[str, str]) -> list[str | None]:
        found = [naming.affixes(kind, field) for kind, field in fields]
        return [None if affixes is None else f"{affixes[0]}KEY{affixes[1]}" for affixes in found]

    def test_legacy(self) -> None:
        fields = (("c", "rate"), ("c", "count"), ("g", ""), ("s", "count"), ("ms", "count_ps"), ("ms", "lower_top10"),
                  ("ms", "sum_squares"), ("ms", "sum_squares_90"), ("ms", "upper_99_9"))  # fmt: skip
        self.assertEqual(
            self.named(CadentNaming(), *fields),
            ["stats.counters.KEY", "stats_counts.KEY", "stats.gauges.KEY", "stats.sets.KEY",
             "stats.timers.KEY.count_ps", "stats.timers.KEY.lower_10", None, None, "stats.timers.KEY.upper_99_9"],
        )  # fmt: skip

    def test_the_suffix_is_a_level_before_the_key(self) -> None:
        naming = CadentNaming(False, "PRE", global_suffix="SUF")
        self.assertEqual(
            self.named(naming, ("c", "count"), ("c", "rate"), ("ms", "mean")),
            ["PRE.counters.SUF.count.KEY", "PRE.counters.SUF.rate.KEY", "PRE.timers.SUF.KEY.mean"],
        )
        self.assertEqual(self.named(CadentNaming(global_prefix="", prefix_gauge=""), ("g", "")), ["KEY"])

    def test_as_statsd(self) -> None:
        naming = CadentNaming(as_statsd=True)
        self.assertEqual(
            self.named(naming, ("c", "rate"), ("c", "count"), ("g", ""), ("ms", "mean")),
            ["KEY|c", "stats_counts.KEY|c", "KEY|g", "KEY.mean|g"],
        )


class StyleTests(SynchronousTestCase):
    def test_options(self) -> None:
        options = {"percentThreshold": "0.57, -0.29,99.9,0.999", "legacyNamespace": "false", "globalPrefix": "P"}
        style, naming = cadent_style(options, 7.0, False, False)
        self.assertEqual(style.percent_thresholds, (57.0, -29.0, 99.9, 99.9))
        self.assertEqual((naming.legacy, naming.global_prefix), (False, "P"))
        self.assertEqual((style.flush_interval_s, style.delete_timers, style.prefix_stats), (7.0, True, None))
        self.assertFalse(cadent_style({}, 7.0, True, False)[0].delete_gauges)
        self.assertRaises(ValueError, cadent_style, {"percentThreshold": "high"}, 7.0, True, False)
