"""Tests of `cadtwist.model.regexes`."""

from __future__ import annotations

import re
import warnings

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.model.regexes import python_regex


def found_in(pattern: str, *texts: str) -> list[str]:
    return [text for text in texts if re.search(python_regex(pattern), text)]


class TranslationTests(unittest.SynchronousTestCase):
    def test_what_is_the_same_stays(self) -> None:
        for pattern in (
            "",
            "^a.*b$",
            r"(?P<x>\d+)(?:a|b)(?=c)(?!d)(?<=e)(?<!f)(?i:g)",
            r"[^a-z\]\\-]",
            r"\(\[\)",
            "[]a]",
            "[^]a]",
        ):
            self.assertEqual(python_regex(pattern), "(?a)" + pattern)

    def test_named_groups(self) -> None:
        for again in (r"\k<x>", r"\k{x}", r"\k'x'", "(?P=x)"):
            self.assertTrue(re.fullmatch(python_regex(r"(?<x>a|b)" + again), "bb"), again)
        match = re.search(python_regex(r"\.__(?<tag>[a-z]+)=(?P<value>[^.]+)"), "a.__host=b.c")
        assert match is not None
        self.assertEqual((match["tag"], match["value"]), ("host", "b"))

    def test_sets_of_posix(self) -> None:
        self.assertEqual(found_in("^[[:alpha:]_]+$", "ab_c", "a1", ""), ["ab_c"])
        self.assertEqual(found_in("^[^[:digit:].]+$", "ab", "a1", "a."), ["ab"])
        self.assertEqual(found_in("^[[:punct:]]+$", "!/:@[]`{~^-", "a", "0", " "), ["!/:@[]`{~^-"])
        self.assertEqual(found_in("^[[:space:]x]$", "\t", "\r", " ", "x", "y"), ["\t", "\r", " ", "x"])
        self.assertRaises(ValueError, python_regex, "[[:what:]]")
        self.assertRaises(ValueError, python_regex, "[[:^alpha:]]")

    def test_escapes(self) -> None:
        self.assertEqual(found_in(r"a\z", "a", "a\n"), ["a"])
        self.assertEqual(found_in(r"a\Z", "a", "a\n", "ab"), ["a", "a\n"])
        self.assertEqual(found_in(r"^\h[\h]\H$", " \tx", "xxx", "   "), [" \tx"])
        self.assertEqual(found_in(r"^\Qa.b*\E+$", "a.b*", "a.b**", "axb*"), ["a.b*", "a.b**"])
        self.assertEqual(found_in(r"^a\Q.*", "a.*", "abc"), ["a.*"])
        self.assertEqual(found_in(r"\x{263a}[\x{41}]", "\u263aA", "A"), ["\u263aA"])
        self.assertRaises(ValueError, python_regex, r"\x{ffffff}")

    def test_options_hold_to_the_end_of_their_group(self) -> None:
        self.assertEqual(found_in("^a(?i)b$", "ab", "aB", "Ab"), ["ab", "aB"])
        self.assertEqual(found_in("(?i)^abc$", "aBC", "abd"), ["aBC"])
        self.assertEqual(found_in("^(a(?i)b|c)d$", "aBd", "Cd", "cD", "AbD"), ["aBd", "Cd"])
        self.assertEqual(found_in("^(?i)a(?-i)b$", "Ab", "AB"), ["Ab"])
        self.assertEqual(found_in("^x(?i)a|b$", "xA", "XA", "B"), ["xA", "B"])

    def test_classes_are_ascii(self) -> None:
        self.assertEqual(found_in(r"^\w\d$", "a1", "é1", "a\u0661"), ["a1"])

    def test_no_warnings_about_sets(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(found_in("^[[a&&b~~||]+$", "[a&b~|", "c"), ["[a&b~|"])

    def test_faults_name_the_pattern(self) -> None:
        for pattern in ("(", "*", "[a", r"\p{L}", "(?U)a", "a)", "(?P<1>a)"):
            self.assertIn(repr(pattern), str(self.assertRaises(ValueError, python_regex, pattern)))

    @settings(max_examples=300, deadline=None, database=None, print_blob=True)
    @given(st.text("ab()[]:^|\\?<>iPzhQE{}x-*1", max_size=24))
    def test_any_text_is_an_expression_or_a_clear_fault(self, pattern: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                re.compile(python_regex(pattern))
            except ValueError as error:
                self.assertTrue(str(error))
