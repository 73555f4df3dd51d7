"""The INI reader against the standard library's, and its messages."""

from __future__ import annotations

import configparser

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.ini import IniFile, read_ini

_PIECES = st.sampled_from(
    [
        "[a]", "[b]", "[DEFAULT]", "[a:b]", "x = 1", "X: 2", "y=3", "  more", "\tdeeper still", "# comment",
        "  ; other", "", "   ", "z = %(x)s!", "p = 50%%", "lone = 5%", "empty =", "key", "= nothing", "q = a=b:c",
        "  r : s  ", "[open",
        "w = %(missing)s", "loop = %(loop)s", "x = again",
    ]
)  # fmt: skip


def _read(text: str) -> tuple[IniFile, Problems]:
    problems = Problems()
    return read_ini(text, "a.conf", problems), problems


def _plain(ini: IniFile) -> dict[str, dict[str, str]]:
    return {section.name: {name: entry.value for name, entry in section.entries.items()} for section in ini.sections}


def _reference(text: str) -> dict[str, dict[str, str]] | None:
    parser = configparser.ConfigParser()
    try:
        parser.read_string(text)
        return {name: dict(parser.items(name)) for name in parser.sections()}
    except configparser.Error:
        return None


class ReadIniTests(SynchronousTestCase):
    @settings(max_examples=600, deadline=None, database=None)
    @given(st.lists(_PIECES, max_size=12))
    def test_agrees_with_the_standard_library(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        expected = _reference(text)
        ini, problems = _read(text)
        if expected is None:
            self.assertTrue(problems.failed, text)
        else:
            self.assertEqual((_plain(ini), problems.texts("error")), (expected, []), text)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.text(alphabet="[]ab=:#;% \t\n\r\x0b\u2028()s", max_size=60))
    def test_survives_any_text(self, text: str) -> None:
        ini, problems = _read(text)
        for section in ini.sections:
            for entry in section.entries.values():
                self.assertGreater(entry.line, 0)
        self.assertIsInstance(problems.failed, bool)

    def test_keeps_the_line_of_each_option(self) -> None:
        ini, _ = _read("# top\n[a]\nx = 1\n\ny = 2\n  3\nz = 4\n")
        section = ini.section("a")
        assert section is not None
        self.assertEqual(section.line, 2)
        self.assertEqual({name: entry.line for name, entry in section.entries.items()}, {"x": 3, "y": 5, "z": 7})
        self.assertEqual(section.entries["y"].value, "2\n3")

    def test_names_every_fault_with_its_line(self) -> None:
        _, problems = _read("early = 1\n[a]\nx = 1\nx = 2\nnonsense\ny = 5%\nz = %(no)s\n[a]\nq = 1\n")
        self.assertEqual(
            problems.texts("error"),
            [
                "a.conf:1: no [section] before 'early = 1'",
                "a.conf:4: x: was set before, on line 3",
                "a.conf:5: neither [section] nor option = value: 'nonsense'",
                "a.conf:6: y: a lone % is not allowed: write %%, or %(option)s for another option's value",
                "a.conf:7: z: %(no)s: there is no such option",
                "a.conf:8: [a]: this section was there before",
            ],
        )

    def test_marks_what_default_gives(self) -> None:
        ini, _ = _read("[DEFAULT]\nbase = /x\n[a]\npath = %(base)s/y\n")
        section = ini.section("a")
        assert section is not None
        self.assertTrue(section.entries["base"].inherited)
        self.assertFalse(section.entries["path"].inherited)
        self.assertEqual(section.entries["path"].value, "/x/y")

    def test_bounds_interpolation(self) -> None:
        lines = ["[a]", "v0 = " + "x" * 1000] + [f"v{n} = " + f"%(v{n - 1})s" * 100 for n in range(1, 9)]
        _, problems = _read("\n".join(lines))
        self.assertIn("too long", problems.texts("error")[0])

    def test_reads_crlf_and_a_byte_order_mark(self) -> None:
        ini, problems = _read("\ufeff[a]\r\nx = 1\r\n")
        self.assertEqual((_plain(ini), problems.failed), ({"a": {"x": "1"}}, False))
