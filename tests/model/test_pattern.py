"""Globs over dotted names."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.pattern import MAX_ALTERNATIVES, expand_braces, is_pattern, parse_pattern, tagged_path


class PatternTests(SynchronousTestCase):
    def test_braces(self):
        for text, expected in {
            "a": ["a"],
            "{a,b}": ["a", "b"],
            "x{a,b}y{1,2}": ["xay1", "xay2", "xby1", "xby2"],
            "{a,b,{d,g}}": ["a", "b", "d", "g"],
            "{,x}": ["", "x"],
            "{web01}": ["web01"],
            "{web01": ["{web01"],
            "a}": ["a}"],
            "{a,a}": ["a"],
        }.items():
            self.assertEqual(sorted(expand_braces(text)), sorted(expected), text)

    def test_too_many_alternatives(self):
        self.assertEqual(len(expand_braces("{" + ",".join(map(str, range(MAX_ALTERNATIVES))) + "}")), MAX_ALTERNATIVES)
        for text in ("{" + ",".join(map(str, range(MAX_ALTERNATIVES + 1))) + "}", "{a,b}" * 30):
            with self.assertRaises(ValueError):
                expand_braces(text)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text("{},ab", max_size=30))
    def test_hostile_braces_end(self, text):
        try:
            expand_braces(text)
        except ValueError as error:
            self.assertIn("alternatives", str(error))

    def test_parts(self):
        self.assertEqual(parse_pattern("a.{b,c}.*"), ((b"a",), (b"b", b"c"), (b"*",)))
        self.assertEqual(parse_pattern(".a"), ((b"a",),))
        self.assertEqual(parse_pattern("with\\=eq.\\*.\\{x\\}"), ((b"with=eq",), (b"[*]",), (b"{x}",)))
        for nothing in ("a..b", "a.", "", "a/b", "../*"):
            self.assertIsNone(parse_pattern(nothing), nothing)
        with self.assertRaises(ValueError):
            parse_pattern(".".join("a" * 64))

    def test_too_much_text(self):
        for query in ("{a,b}" * 9 + "x" * 60_000, "{" + "," * 2000 + "}", "a" * 70_000, "{a,b}" * 12):
            with self.assertRaises(ValueError):
                parse_pattern(query)
        hosts = [f"host{number}.example" for number in range(900)]
        parts = parse_pattern("{" + ",".join(host.replace(".", "_") for host in hosts) + "}")
        self.assertEqual(len(parts[0]), 900)

    def test_is_pattern(self):
        self.assertTrue(all(map(is_pattern, ("a*", "a?", "a[b]", "{a}"))))
        self.assertFalse(is_pattern("a.b;c=d"))

    def test_tagged_path(self):
        name = "disk.used;datacenter=dc1;rack=r1;server=a"
        digest = "a941dd459acfafed0e43ba5e145a9eef97728701a300a780dee4932636b709ed"
        self.assertEqual(tagged_path(name, True), f"_tagged.a94.1dd.{digest}")
        self.assertEqual(tagged_path(name, False), "_tagged.a94.1dd.disk_DOT_used;datacenter=dc1;rack=r1;server=a")
