"""`cadtwist check`: what it prints and how it exits."""

from __future__ import annotations

import os
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.check import CheckStore, run
from cadtwist.config.load import load
from cadtwist.config.model import Config

_ENVIRON = {"GRAPHITE_ROOT": "/opt/graphite"}


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self._write("storage-schemas.conf", "[a]\npattern = x\nretentions = 60:60\n")

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _check(self, *argv: str, check_store: CheckStore | None = None) -> tuple[int, list[str]]:
        out = StringIO()
        status = run(argv, out, _ENVIRON, check_store)
        return status, out.getvalue().splitlines()

    def test_a_usable_file(self) -> None:
        path = self._write("carbon.conf", "[cache]\nMAX_CACHE = 1\nDESTINATIONS = x\n")
        self.assertEqual(
            self._check(path),
            (
                0,
                [
                    f"warning: {path}:2: MAX_CACHE: unknown option, not used; did you mean MAX_CACHE_SIZE?",
                    f"notice: {path}:3: DESTINATIONS: has no effect: belongs to relays and aggregators",
                    f"{path}: carbon [cache], usable: 0 errors, 1 warning, 1 notice",
                ],
            ),
        )

    def test_a_faulty_file(self) -> None:
        path = self._write("x.toml", "cache = 1\nno = 2\n")
        status, lines = self._check(path)
        self.assertEqual((status, lines[-1]), (2, "not usable: 2 errors, 0 warnings, 0 notices"))
        self.assertEqual(lines[0], f"error: {path}:1: cache: a table is expected")

    def test_every_section_of_a_carbon_conf_is_checked_unless_one_is_asked_for(self) -> None:
        path = self._write("carbon.conf", "[relay]\nDESTINATIONS = h\n[cache]\nMAX_CACHE_SIZE = 1\n")
        status, lines = self._check(path)
        self.assertEqual(status, 2)
        self.assertEqual(lines[0], f"{path}: carbon [cache], usable: 0 errors, 0 warnings, 0 notices")
        self.assertIn(f"error: {path}:2: DESTINATIONS: 'h' is not a destination, ", lines[1])
        self.assertEqual(self._check(path, "--program=cache")[0], 0)
        self.assertEqual(self._check(path, "--program=relay")[0], 2)
        status, lines = self._check(path, "--print")
        self.assertEqual((status, lines[0]), (0, 'program = "carbon-cache"'))

    def test_rule_files_of_relays_are_checked_alone(self) -> None:
        for name, text, good in (
            ("relay-rules.conf", "[a]\ndefault = 1\ndestinations = h:1\n", "1 rule"),
            ("rewrite-rules.conf", "[pre]\na = b\n[post]\nc = d\n", "2 rules"),
            ("aggregation-rules.conf", "a (1) = sum b\n", "1 rule"),
        ):
            path = self._write(name, text)
            kind = name.removesuffix(".conf")
            self.assertEqual(self._check(path), (0, [f"{path}: {kind}, usable: {good}"]))
            path = self._write(name, text + "x\n")
            self.assertEqual(self._check(path)[0], 2)

    def test_every_dialect_is_recognised_and_printed(self) -> None:
        for name, text, dialect in (
            ("s.json", '{"statsd": {"shard_map": ["h:1"]}}', "statsrelay"),
            ("istatd.cfg", "--store /nowhere\n", "istatd"),
            ("mine", "--store /nowhere\n", "istatd"),
            ("c.toml", '[default]\n[a]\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n', "cadent"),
            ("p.js", "{\nnodes: [{host: 'h', port: 1, adminport: 2}]}", "statsd-proxy"),
        ):
            path = self._write(name, text)
            self.assertEqual(self._check(path), (0, [f"{path}: {dialect}, usable: 0 errors, 0 warnings, 0 notices"]))
            status, lines = self._check(path, "--print")
            self.assertEqual(status, 0)
            copy = self._write("copy.toml", "\n".join(lines))
            self.assertEqual(load(copy).config, load(path).config)

    def test_configurations_of_statsd_and_statsite(self) -> None:
        for name, good, bad, kind in (
            ("config.js", "{ port: 8125 }", "{ port: 'x' }", "statsd"),
            ("statsite.conf", "[statsite]\nport = 8125\n", "[statsite]\nport = x\n", "statsite"),
        ):
            path = self._write(name, good)
            self.assertEqual(self._check(path), (0, [f"{path}: {kind}, usable: 0 errors, 0 warnings, 0 notices"]))
            self.assertEqual(self._check(path, "--print")[0], 2)
            path = self._write(name, bad)
            status, lines = self._check(path)
            self.assertEqual((status, lines[-1]), (2, f"{path}: {kind}, not usable: 1 error, 0 warnings, 0 notices"))

    def test_cadents_second_file(self) -> None:
        text = '[default]\n[a]\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n'
        path = self._write("c.toml", text)
        prereg = self._write("p.toml", '[x]\nlisten_server = "b"\ndefault_backend = "a"\n')
        status, lines = self._check(path, f"--prereg={prereg}")
        self.assertEqual(status, 2)
        self.assertIn(f"error: {prereg}:2: x.listen_server: there is no section 'b'", lines)

    def test_a_missing_file_and_no_file(self) -> None:
        self.assertEqual(self._check(os.path.join(self.folder, "none.toml"))[0], 2)
        status, lines = self._check()
        self.assertEqual(status, 2)
        self.assertIn("/opt/graphite/conf/carbon.conf", lines[0])

    def test_print_gives_native_toml_that_loads_as_the_same(self) -> None:
        path = self._write("carbon.conf", "[cache]\nX = 1\n[cache:b]\nLINE_RECEIVER_PORT = 2103\n")
        status, lines = self._check(path, "--print", "--instance", "b")
        self.assertEqual((status, lines[0][:10]), (0, "# warning:"))
        again = load(self._write("again.toml", "\n".join(lines)))
        self.assertEqual(again.config, load(path, instance="b", environ=_ENVIRON).config)
        self.assertEqual(again.config.listeners[0].port, 2103)

    def test_store(self) -> None:
        path = self._write("carbon.conf", "[cache]\n")
        asked: list[Config] = []

        def differing(config: Config) -> list[str]:
            asked.append(config)
            return ["a.b: 60:60, the schema says 10:60"]

        status, lines = self._check(path, "--store", check_store=differing)
        self.assertEqual((status, lines[0]), (2, "store: a.b: 60:60, the schema says 10:60"))
        self.assertEqual(asked[0].storage.root, "/opt/graphite/storage/whisper")
        self.assertEqual(self._check(path, "--store", check_store=lambda config: [])[0], 0)
        self.assertEqual(self._check(path, "--store")[0], 2)
        self.assertEqual(self._check(path, check_store=differing)[0], 0)

    def test_rule_files_alone(self) -> None:
        path = self._write("storage-schemas.conf", "[a]\npattern = x\nretentions = 60:60\n[b]\npattern = y\n")
        self.assertEqual(
            self._check(path),
            (
                0,
                [
                    f"warning: {path}:4: the section is skipped: [b] has no retentions",
                    f"{path}: storage-schemas, usable: 1 rule",
                ],
            ),
        )
        path = self._write("rules", "[a]\npattern = (\n")
        self.assertEqual(self._check(path, "--dialect", "storage-aggregation")[0], 2)
        path = self._write("whitelist.conf", "^a\n^b\n")
        self.assertEqual(self._check(path), (0, [f"{path}: whitelist, usable: 2 rules"]))
        self.assertEqual(self._check(os.path.join(self.folder, "blacklist.none"))[0], 2)
