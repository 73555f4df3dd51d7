from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.statretention import (
    DEFAULT_RETENTION,
    StatRetention,
    parse_duration,
    parse_stat_retentions,
    retention_text,
)


class StatRetentionTests(SynchronousTestCase):
    def test_reads_the_default(self) -> None:
        self.assertEqual(
            parse_stat_retentions(DEFAULT_RETENTION),
            (
                StatRetention("10s", 10, 86400),
                StatRetention("5m", 300, 374 * 288),
                StatRetention("1h", 3600, (6 * 365 + 12) * 24),
                StatRetention("ret-7d", 300, 2016, 0.9),
            ),
        )

    def test_a_season_lasts_as_long_as_its_retention(self) -> None:
        plain, season = parse_stat_retentions("10s:1h,1m:1h:ma-1h:0.9")
        self.assertEqual((plain.season, season.season, season.name), (0, 3600, "ma-1h"))

    def test_adds_up_units(self) -> None:
        self.assertEqual(parse_duration("1y9d"), 374 * 86400)
        self.assertEqual(parse_duration("1h1m1s"), 3661)

    def test_retention_is_rounded_down_to_intervals(self) -> None:
        self.assertEqual(parse_stat_retentions("7s:1m")[0].samples, 8)

    def test_refuses_what_no_store_can_keep(self) -> None:
        for text, complaint in (
            ("", "interval:retention"),
            ("10s", "interval:retention"),
            ("10s:1h:a:0.5:x", "interval:retention"),
            ("10:1h", "length of time"),
            ("0s:1h", "interval must be"),
            ("1h:10s", "must hold"),
            ("10s:1h,10s:2h:b", "longer than the one before"),
            ("5m:1h,10s:1h", "longer than the one before"),
            ("10s:1h,5m:7d:x:0.9,1h:2h", "before seasons"),
            ("10s:1h:x:0.9", "first retention"),
            ("10s:1h:a,5m:1h:a", "same name"),
            ("10s:1h:a/b", "name of a file"),
            ("10s:1h:..", "name of a file"),
            ("10s:1h,5m:7d:x:1", "below 1"),
            ("10s:1h,5m:7d:x:0", "above 0"),
            ("10s:1h,5m:7d:x:nan", "above 0"),
            ("10s:1h,1s:5s:x:0.9", "season must be"),
            ("10s:1h,1d:2y:x:0.9", "season must be"),
            (",".join(f"{n}s:1h" for n in range(1, 18)), "17 retentions"),
        ):
            error = self.assertRaises(ValueError, parse_stat_retentions, text)
            self.assertIn(complaint, str(error), text)

    @given(
        st.lists(st.integers(1, 10000), min_size=1, max_size=5, unique=True).map(sorted),
        st.integers(1, 1000),
        st.floats(0.01, 0.99),
    )
    def test_text_reads_back(self, intervals: list[int], samples: int, factor: float) -> None:
        entries = tuple(StatRetention(f"f{interval}", interval, samples) for interval in intervals)
        entries += (StatRetention("season", 60, 60, factor),)
        self.assertEqual(parse_stat_retentions(retention_text(entries)), entries)
