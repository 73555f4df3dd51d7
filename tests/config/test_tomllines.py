"""Where keys stand in a TOML text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.tomllines import key_lines, line_of

_TEXT = '''# first
a = 1
"b c".d = """
e = 2
"""
list = [
  "x = 1", # y = 2
  { z = 1 },
]
s = 'a # b'
[t]
u = { v = 1, w = [1,
  2] }
[[r]]
k = 1
[[r]]
k = 2
[r.deep]
q = 3
[[r.inner]]
p = 4
[[r.inner]]
p = 5
'''


class KeyLinesTests(SynchronousTestCase):
    def test_finds_keys_and_tables(self) -> None:
        lines = key_lines(_TEXT)
        self.assertEqual(
            lines,
            {
                ("a",): 2,
                ("b c",): 3,
                ("b c", "d"): 3,
                ("list",): 6,
                ("s",): 10,
                ("t",): 11,
                ("t", "u"): 12,
                ("r",): 14,
                ("r", 0): 14,
                ("r", 0, "k"): 15,
                ("r", 1): 16,
                ("r", 1, "k"): 17,
                ("r", 1, "deep"): 18,
                ("r", 1, "deep", "q"): 19,
                ("r", 1, "inner"): 20,
                ("r", 1, "inner", 0): 20,
                ("r", 1, "inner", 0, "p"): 21,
                ("r", 1, "inner", 1): 22,
                ("r", 1, "inner", 1, "p"): 23,
            },
        )

    def test_falls_back_to_the_key_that_holds_it(self) -> None:
        lines = key_lines(_TEXT)
        self.assertEqual(line_of(lines, ("t", "u", "v")), 12)
        self.assertEqual(line_of(lines, ("list", 1, "z")), 6)
        self.assertEqual(line_of(lines, ("nowhere",)), 0)
        self.assertEqual(line_of(lines, ()), 0)

    def test_tables_within_tables_have_the_line_of_their_header(self) -> None:
        self.assertEqual(
            key_lines("[a.b]\n[[c.d]]\n"), {("a",): 1, ("a", "b"): 1, ("c",): 2, ("c", "d"): 2, ("c", "d", 0): 2}
        )

    def test_survives_what_is_no_toml(self) -> None:
        for text in ("[", "[[", "=", "a", "a = '''", 'b = "', "[]", "{"):
            self.assertIsInstance(key_lines(text), dict)
