"""The grammar of targets."""

from __future__ import annotations

import contextlib
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.target import (
    MAX_DEPTH,
    MAX_TARGET,
    Call,
    Literal,
    Path,
    TargetError,
    Template,
    bound_path,
    first_path,
    parse_target,
)

PIECES = [*"a.,)(|{}\"'=1\\ ü", "f(", "template(", "-2.5e3", "inf", "$x", "b.c", "true"]


def shown(node):
    if isinstance(node, Path):
        return node.text
    if isinstance(node, Literal):
        return repr(node.value)
    if isinstance(node, Template):
        return f"<{shown(node.body)} {dict(node.bindings)}>"
    arguments = [shown(argument) for argument in node.arguments]
    arguments += [f"{name}={shown(value)}" for name, value in node.keywords]
    return f"{node.name}({', '.join(arguments)})"


class TargetTests(SynchronousTestCase):
    def test_readings(self):
        for text, expected in {
            "a.b-c.*": "a.b-c.*",
            " a.{b,c}d.[0-9]? ": "a.{b,c}d.[0-9]?",
            "f()": "f()",
            "f( a.b , 1 )": "f(a.b, 1)",
            "f(a,-1.5e3,TRUE,none,Inf,'x\"y',\"\")": "f(a, -1500.0, True, None, inf, 'x\"y', '')",
            "f(a,g(b,h=2),i='x')": "f(a, g(b, h=2), i='x')",
            "a|f(1)|g()": "g(f(a, 1))",
            "f(a | g(2), 1)": "f(g(a, 2), 1)",
            "f(1.a, 2)": "f(1.a, 2)",
            "f(trueish, nones.x)": "f(trueish, nones.x)",
            r"f('a\'b', a\,b.c\(d\))": r"""f("a\\'b", a,b.c(d))""",
            r"a.b\=c.\{d\,e\}": "a.b=c.{d,e}",
            r"f(a\\b)": r"f(a\b)",
            "f(a,'b\tc')": "f(a, 'b  c')",
            "100": "100",
            "true": "true",
            "a;b=c;d=e": "a;b=c;d=e",
            "template(f(a.$x,$1),x='q')": "<f(a.$x, $1) {'x': 'q'}>",
            "template(a.$1,'q',2)": "<a.$1 {'1': 'q', '2': 2}>",
            "template(a.$x)|f()": "f(<a.$x {}>)",
        }.items():
            self.assertEqual(shown(parse_target(text)), expected, text)

    def test_a_valid_beginning_is_enough(self):
        for text, expected in {
            "f(a": "f",
            "f(a))": "f(a)",
            "a|": "a",
            "a|b": "a",
            "a.": "a",
            "a..b": "a",
            "f(a,.5)": "f",
            "f(k=a,1)": "f",
            "f(a,k=1,b)": "f",
            "a.{b,c": "a",
            "a.{b.c,d}": "a",
            "template(f(a,x),x=b.c)": "template(f(a, x), x=b.c)",
            "template(a.$1.$x,'q',x=2)": "template(a.$1.$x, 'q', x=2)",
            "template(a.$1.$x,x=2,'q')": "template",
        }.items():
            self.assertEqual(shown(parse_target(text)), expected, text)

    def test_faults_name_their_column(self):
        for text, message in {
            "": "No expression at column 1 of target ''",
            "  |f()": "No expression at column 3 of target '  |f()'",
            '"text"': "No expression at column 1",
            "f(" * 100: f"More than {MAX_DEPTH} calls within calls at column {2 * MAX_DEPTH + 1}",
            "a" + "|f()" * 100: f"More than {MAX_DEPTH} calls within calls at column {4 * MAX_DEPTH - 2}",
            "f(" + "a," * 20_000 + "a)": "More than 10000 parts of an expression at column 20001",
            "f(a," + "1" * 1000 + ")": "A number of 1000 digits at column 5",
            "a" * (MAX_TARGET + 1): f"Target has {MAX_TARGET + 1} characters",
        }.items():
            with self.assertRaises(TargetError) as caught:
                parse_target(text)
            self.assertIn(message, str(caught.exception))

    def test_columns_and_source(self):
        node = parse_target("f(a, g(b))|h('x')")
        self.assertIsInstance(node, Call)
        inner = node.arguments[0]
        self.assertEqual((node.column, node.text, inner.column, inner.text), (12, "h('x')", 1, "f(a, g(b))"))
        self.assertEqual((inner.arguments[1].column, inner.arguments[1].arguments[0].column), (6, 8))

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
    def test_anything_is_read_or_refused(self, text):
        try:
            node = parse_target(text)
        except TargetError:
            return
        self.assertIsInstance(shown(node), str)

    def test_work_is_linear(self):
        """Texts on which a parser that tries again at every level would need more than a life."""
        for unit in ("template(", "f(a=", "template(f(", "f(a|", "a{b,", "f('", 'f("",', "f(g(a,"):
            text = unit * (300 // len(unit))
            started = time.process_time()
            with contextlib.suppress(TargetError):
                parse_target(text)
            self.assertLess(time.process_time() - started, 5)

    def test_first_path(self):
        for name, expected in {
            "a.b": "a.b",
            "scale(a.b,2)": "a.b",
            "f(g(h(a.{b,c}.d,1),'x'))": "a.{b,c}.d",
            "a.b)": "a.b",
            "f()": "f()",
            "f('x')": "f('x')",
            ")": ")",
            'f("x",a)': 'f("x",a)',
            "log(3.0, 10)": "log(3.0, 10)",
            "f(-1e3)": "f(-1e3)",
            "f(g(INF))": "f(g(INF))",
            "f(3.x,1)": "3.x",
            "f(a.b, c.*, )": "f",
            "f(g(a.b)": "f",
            "f(a.b))": "a.b",
            "f(g(a.b,2),'x',c.d)": "a.b",
            "f(a.b,g(c.d))": "a.b",
            'f(a.b,")")': "a.b",
            "f(a.b,x=1)": "a.b",
            "f(a.b,,1)": "f",
            "f(a=b.c)": "f",
            "f(a.b=c)": "a.b=c",
            "f(infinite)": "infinite",
        }.items():
            self.assertEqual(first_path(name), expected, name)

    def test_bindings(self):
        values = {"x": "q", "n": "2.5", "k": 3}
        for text, expected in {"a.$x.$k": "a.q.3", "$x": "q", "$n": 2.5, "$k": 3, "$zone": "$zone"}.items():
            self.assertEqual(bound_path(text, values), expected)
