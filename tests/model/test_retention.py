from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.retention import (
    Archive,
    checked_archives,
    parse_retention,
    parse_retentions,
    parse_whisper_retention,
)

DATA = Path(__file__).parent.parent / "data"


class ParseTests(SynchronousTestCase):
    def test_both_grammars_read_what_was_recorded(self) -> None:
        for case in json.loads((DATA / "carbon" / "retention_defs.json").read_text()):
            for parse, key in ((parse_retention, "carbon"), (parse_whisper_retention, "whisper")):
                if key in case and case["def"]:
                    step, points = case[key]
                    self.assertEqual(parse(case["def"]), (step, int(points)), case["def"])
                else:
                    self.assertRaises(ValueError, parse, case["def"])

    def test_a_list(self) -> None:
        self.assertEqual(parse_retentions("1s:6h, 10s:7d ,1m:30d"), ((1, 21600), (10, 60480), (60, 43200)))
        self.assertRaisesRegex(ValueError, "must divide", parse_retentions, "180s:7d,300s:30d")

    def test_hostile_texts(self) -> None:
        for text in ("", ":", "::", "9" * 400 + ":1", "1:" + "9" * 400, "٣:٣", "60:10\n:", "0s:1d", "1_0:1"):
            self.assertRaises(ValueError, parse_retention, text)


class CheckTests(SynchronousTestCase):
    def test_accepts_and_refuses_as_recorded(self) -> None:
        for case in json.loads((DATA / "whisper" / "create_rules.json").read_text()):
            if "options" in case:
                continue
            archives = [tuple(archive) for archive in case["archives"]]
            usable = case["ok"] and all(step and points for step, points in archives)
            if usable:
                self.assertEqual(checked_archives(archives), tuple(sorted(Archive(*a) for a in archives)))
            else:
                self.assertRaises(ValueError, checked_archives, archives)

    def test_refuses_what_32_bits_cannot_hold(self) -> None:
        for archives in ([(1, 2**32)], [(2**31, 2)], [(1, 2**28), (2, 2**28), (4, 2**28)]):
            self.assertRaisesRegex(ValueError, "too long", checked_archives, archives)

    def test_refuses_too_many_archives(self) -> None:
        self.assertRaisesRegex(ValueError, "at most 64", checked_archives, [(2**i, 2) for i in range(65)])
