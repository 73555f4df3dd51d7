"""Damaged configurations of every dialect: a Config or faults, never an exception; what is usable round-trips."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from cadtwist.config.cadent import load_cadent
from cadtwist.config.carbon import CarbonSource, load_carbon
from cadtwist.config.carbonrow import LETTERS
from cadtwist.config.errors import Problems
from cadtwist.config.load import read_file
from cadtwist.config.model import Config
from cadtwist.config.native import load_native
from cadtwist.config.statsdproxy import load_statsd_proxy
from cadtwist.config.statsrelay import load_statsrelay
from cadtwist.config.toml import to_toml
from tests.fuzz.fuzzing import CASES, Fuzzing

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_MARKS = "=[]{}.\n'\"-1\\,:x# %()é\0<>|&\t"
_VALUES = (
    '""', '"x"', "0", "-1", "1e999", "nan", "NaN", "inf", "true", "[]", "[1]", '["a"]', '["a", "a"]', "{}", "[[]]",
    "[{}]",
    "99999999999999999999999", "9223372036854775808", "0.5", "-0.0", "1979-05-27", '"\\u0000"', '"\\ud800"', '"("',
    '"tcp://127.0.0.1:99999"', '"[::1]:99"', '"127.0.0.1:0"', '"unix:///"', '"http://"',
    f'"{"x" * 3000}"', "a,b", "h:1:a, h:1:a",
)  # fmt: skip
_GIVEN = re.compile(r"""^(\s*["']?[\w.-]+["']?\s*[=:]\s*)[^\s#,][^#\n]*?(,?)[ ]*$""", re.MULTILINE)
_METHODS = ("rules", "constant", "aggregated-consistent-hashing")
_ACCUMULATOR = os.path.join("tests", "config", "data", "cadent", "prereg.bad.toml")


class ConfigurationTests(Fuzzing):
    def setUp(self) -> None:
        super().setUp()
        names = [name for name in os.listdir(os.path.join(_ROOT, "conf")) if not name.startswith("quick")]
        self.texts = {name: read_file(os.path.join(_ROOT, "conf", name)) for name in sorted(names)}
        self.texts["accumulator"] = read_file(os.path.join(_ROOT, _ACCUMULATOR))

    def text(self, name: str) -> str:
        """Return the sample `name` with a few values replaced, or a few pieces cut out or put in."""
        text = self.texts[name]
        given = list(_GIVEN.finditer(text))
        if given and self.dice.random() < 0.5:
            for match in sorted(self.dice.sample(given, min(len(given), self.dice.choice((1, 1, 2, 4)))), reverse=True,
                                key=re.Match.start):  # fmt: skip
                text = f"{text[: match.end(1)]}{self.dice.choice(_VALUES)}{match[2]}{text[match.end() :]}"
            return text
        for _ in range(self.dice.randint(1, 4)):
            at = self.dice.randrange(len(text) + 1)
            new = "".join(self.dice.choices(_MARKS, k=self.dice.randint(0, 4)))
            text = text[:at] + new + text[at + self.dice.choice((0, 0, 1, 5, 40)) :]
        return text

    def beside(self, path: str) -> str:
        """Return a damaged rule file."""
        name = os.path.basename(path)
        if name not in self.texts:
            raise FileNotFoundError(path)
        return self.text(name)

    def run_cases(self, load: Callable[[Problems], Config]) -> None:
        usable = 0
        count = max(CASES // 100, 200)
        for _ in range(count):
            problems = Problems()
            config = load(problems)
            self.assertLess(max((len(str(each)) for each in problems.reports), default=0), 2200)
            if problems.failed:
                continue
            usable += 1
            again = Problems()
            self.assertEqual(load_native(to_toml(config), "x.toml", self.beside, again), config)
            names = "is neither an IPv4 nor an IPv6 address"  # which the dialects take, and native does not
            self.assertEqual([text for text in again.texts("error") if names not in text], [])
        self.assertTrue(usable)

    def test_cadent(self) -> None:
        def load(problems: Problems) -> Config:
            prereg = self.text(self.dice.choice(("cadent-prereg.toml", "accumulator")))
            return load_cadent(self.text("cadent.toml"), "c", problems, ("p", prereg))

        self.run_cases(load)

    def test_statsrelay(self) -> None:
        self.run_cases(lambda problems: load_statsrelay(self.text("statsrelay.json"), "s", problems))

    def test_statsd_proxy(self) -> None:
        self.run_cases(lambda problems: load_statsd_proxy(self.text("statsd-proxy.js"), "p", problems))

    def test_native(self) -> None:
        sample = self.texts["cadtwist.toml"]
        self.texts["all"] = sample[: sample.index("# [[stages.rewrite]]")] + sample[
            sample.index("# [[stages.rewrite]]") : sample.index("# [files]")
        ].replace("# [", "[").replace("\n# ", "\n")
        self.run_cases(lambda problems: load_native(self.text("all"), "n", self.beside, problems))

    def test_carbon(self) -> None:
        sample = self.texts["carbon.conf"]

        def load(problems: Problems) -> Config:
            method = f"RELAY_METHOD = {self.dice.choice(_METHODS)}"
            self.texts["carbon.conf"] = sample.replace("RELAY_METHOD = rules", method)
            program = self.dice.choice(list(LETTERS))
            source = CarbonSource(path="/c/carbon.conf", environ={"GRAPHITE_ROOT": "/r"}, program=program)
            return load_carbon(self.text("carbon.conf"), source, self.beside, problems)

        self.run_cases(load)
