"""Cadent's flags."""

from __future__ import annotations

import io

from cadtwist.cli.cadent import run
from cadtwist.cli.consolelog import LEVEL, STDERR
from tests.cli.folder import FolderCase

_GOOD = '[default]\n[a]\nmsg_type = "statsd"\n[[a.servers]]\nservers = ["tcp://h:1"]\n'
_PREREG = '[x]\nlisten_server = "a"\ndefault_backend = "a"\n[[x.map]]\nprefix = "p"\n'


class CadentCommandTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.config = self.write("config.toml", _GOOD)
        self.prereg = self.write("prereg.toml", _PREREG)

    def command(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        status = run(["cadent", *argv], out, err, self.environ, self.started.append)
        return status, out.getvalue(), err.getvalue()

    def test_no_flag_tells_the_flags(self) -> None:
        for argv in ((), ("-help",), ("word",)):
            status, out, err = self.command(*argv)
            self.assertEqual((status, out), (1, ""))
            for flag in ("-config", "-prereg", "-loglevel", "-version"):
                self.assertIn(flag, err)

    def test_version(self) -> None:
        status, out, _ = self.command("-version")
        self.assertEqual(status, 0)
        self.assertTrue(out.startswith("Cadent version ") and out.endswith("\n\n"), out)
        self.assertEqual(self.command("-version=false", f"-config={self.config}")[1], "")

    def test_start_in_every_spelling_of_flags(self) -> None:
        for argv in (
            (f"-config={self.config}", f"-prereg={self.prereg}", "-loglevel=warning"),
            ("--config", self.config, "-prereg", self.prereg, "--loglevel", "WARNING"),
        ):
            self.assertEqual(self.command(*argv), (0, "", ""))
            arguments = self.started[-1]
            ours = arguments.index("cadent")
            self.assertEqual(arguments[ours:], ["cadent", f"--config={self.config}", f"--prereg={self.prereg}"])
            self.assertEqual((self.environ[LEVEL], self.environ[STDERR]), ("warn", "all"))
        self.command(f"-config={self.config}")
        self.assertEqual(self.environ[LEVEL], "debug")

    def test_faults(self) -> None:
        bad = self.write("bad.toml", "[default]\n")
        for argv, text in (
            (("-confg=x",), "flag provided but not defined: -confg"),
            (("-config",), "flag needs an argument: -config"),
            (("-logfile=x",), "belongs to Cadent 0.4"),
            ((f"-config={self.config}", "-loglevel=loud"), "invalid value 'loud'"),
            ((f"-config={bad}",), f"{bad}: at least one section with a listener is needed"),
            (("-config=/none",), "/none: no configuration there"),
            ((f"-config={self.config}", "-prereg=/none"), "/none: cannot be read"),
        ):
            status, _, err = self.command(*argv)
            self.assertEqual(status, 2)
            self.assertIn(text, err)
        self.assertEqual(self.started, [])
