"""Times in layouts of Go."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.golayout import LayoutError, reader


class LayoutTests(SynchronousTestCase):
    def test_gos_own_layouts(self) -> None:
        for layout, text, seconds in (
            ("Mon Jan _2 15:04:05 2006", "Thu Feb  1 00:00:01 2024", 1706745601.0),
            ("Mon Jan _2 15:04:05 MST 2006", "Thu Feb  1 00:00:01 UTC 2024", 1706745601.0),
            ("02 Jan 06 15:04 -0700", "01 Feb 24 01:00 +0100", 1706745600.0),
            ("Monday, 02-Jan-06 15:04:05 MST", "Thursday, 01-Feb-24 00:00:00 UTC", 1706745600.0),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T10:11:12+02:00", 1709194272.0),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T08:11:12Z", 1709194272.0),
            ("2006-01-02T15:04:05.999999999Z07:00", "2024-02-29T08:11:12.5Z", 1709194272.5),
            ("2006-01-02 15:04:05.000", "2024-02-29 10:11:12.250", 1709201472.25),
            ("02/Jan/2006:15:04:05 -0700", "10/Oct/2000:13:55:36 -0700", 971211336.0),
            ("January 2, 2006 at 3:04pm", "july 4, 1999 at 12:30am", 931048200.0),
            ("January 2, 2006 at 3:04PM", "July 4, 1999 at 2:30PM", 931098600.0),
            ("2006002", "2024060", 1709164800.0),
            ("06-1-2", "70-1-2", 86400.0),
            ("20060102150405", "20240229101112", 1709201472.0),
        ):
            self.assertEqual(reader(layout)(text), seconds, layout)

    def test_texts_that_are_no_such_time(self) -> None:
        for layout, text in (
            ("2006-01-02", "2024-02-30"), ("2006-01-02", "2024-2-3"), ("2006-01-02", "x"), ("15:04", "12:30"),
            ("2006-01-02 15", "2024-01-01 24"), ("2006-01-02 03 PM", "2024-01-01 13 PM"), ("2006", "0000"),
            ("2006-002", "2024-999999"),
        ):  # fmt: skip
            self.assertIsNone(reader(layout)(text), text)

    def test_a_part_twice(self) -> None:
        self.assertRaises(LayoutError, reader, "2006 2006")
