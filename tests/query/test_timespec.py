"""The time grammar; the recorded cases are replayed in tests.web.test_golden."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.timespec import TimeSpecError, parse_offset, parse_time, zone_named

NOW = 1699999200  # 2023-11-14T22:00:00Z, a Tuesday
UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


def utc(*fields):
    return int(datetime(*fields, tzinfo=UTC).timestamp())


class TimeTests(SynchronousTestCase):
    def test_readings(self):
        for text, expected in {
            "now": NOW,
            "": NOW,
            "-1h": NOW - 3600,
            "now-1h30min": NOW - 5400,
            "+2d": NOW + 2 * 86400,
            "-1mon": NOW - 30 * 86400,
            "1234": 1234,
            "20231301": 20231301,
            "20231110": utc(2023, 11, 10),
            "06:30_20231110": utc(2023, 11, 10, 6, 30),
            "6:30pm": utc(2023, 11, 14, 18, 30),
            "12am": utc(2023, 11, 14, 12),
            "12pm": utc(2023, 11, 14),
            "noon yesterday": utc(2023, 11, 13, 12),
            "teatime_tomorrow": utc(2023, 11, 15, 16),
            "midnight+1h": utc(2023, 11, 14, 1),
            "1/2/99": utc(1999, 1, 2),
            "1/2/10": utc(2010, 1, 2),
            "February3": utc(2023, 2, 3),
            "monday": utc(2023, 11, 13),
            "Tuesday": utc(2023, 11, 14),
        }.items():
            self.assertEqual(parse_time(text, UTC, NOW), expected, text)

    def test_zones(self):
        self.assertEqual(parse_time("midnight", BERLIN, NOW), utc(2023, 11, 13, 23))
        summer = utc(2023, 10, 29, 12)
        self.assertEqual(parse_time("2:30", BERLIN, summer), utc(2023, 10, 29, 1, 30))
        spring = utc(2023, 3, 26, 12)
        self.assertEqual(parse_time("2:30", BERLIN, spring), utc(2023, 3, 26, 1, 30))
        self.assertIs(zone_named("No/Such"), UTC)
        self.assertIs(zone_named("../../etc/passwd"), UTC)
        self.assertIs(zone_named(""), UTC)
        self.assertEqual(zone_named("Europe/Berlin"), BERLIN)

    def test_refusals(self):
        for text, message in {
            "14nov": "Unknown day reference: 14nov",
            "-1x": "Invalid offset unit 'x'",
            "-1.5h": "Invalid offset unit ''",
            "november": "Day of month required after month name",
            "-1800": "Invalid offset unit ''",
            "nov31": "day is out of range for month",
            "9" * 40: "Time is out of range",
            "-9999999999y": "Time is out of range",
            "x" * 300: "Time is too long",
        }.items():
            with self.assertRaises(TimeSpecError) as caught:
                parse_time(text, UTC, NOW)
            self.assertTrue(str(caught.exception).startswith(message), str(caught.exception))

    def test_offsets(self):
        self.assertEqual([parse_offset(text) for text in ("", "1h", "+1h", "-2min10s", "-")], [0, 3600, 3600, -130, 0])
        with self.assertRaises(TimeSpecError):
            parse_offset("x1h")

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.one_of(st.text(max_size=30), st.text("0123456789:/+-apmhdsnowyt_ ", max_size=20)))
    def test_anything_is_read_or_refused(self, text):
        with contextlib.suppress(TimeSpecError):
            self.assertIsInstance(parse_time(text, BERLIN, NOW), int)
