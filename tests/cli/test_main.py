"""The command table."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import cadtwist
from cadtwist import __version__
from cadtwist.cli.main import COMMANDS, run

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(cadtwist.__file__)))


def output(*argv: str) -> tuple[int, str]:
    stdout = io.StringIO()
    return run(argv, stdout, {}), stdout.getvalue()


class MainTests(SynchronousTestCase):
    def test_version_names_the_kernels(self) -> None:
        status, text = output("--version")
        self.assertEqual(status, 0)
        self.assertRegex(text, rf"^cadtwist {__version__} \(kernels: (native|python); Python 3\.\d+\.\d+\)$")

    def test_no_command_shows_usage(self) -> None:
        for argv in ((), ("--help",), ("help",)):
            status, text = output(*argv)
            self.assertEqual(status, 0)
            for command in COMMANDS:
                self.assertIn(f"\n  {command} ", text)

    def test_unknown_command(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            status, _ = output("frobnicate")
        self.assertEqual(status, 2)
        self.assertIn("frobnicate", stderr.getvalue())

    def test_every_command_can_be_imported_and_helps(self) -> None:
        for command, (module, _) in COMMANDS.items():
            self.assertTrue(callable(importlib.import_module(module).run))
            with contextlib.redirect_stdout(io.StringIO()) as stdout, self.assertRaises(SystemExit) as ended:
                run([command, "--help"], stdout, {})
            self.assertEqual(ended.exception.code, 0)
            self.assertIn(f"cadtwist {command}", stdout.getvalue())

    def test_tools_are_imported_only_when_asked_for(self) -> None:
        code = "import sys, cadtwist.cli.main as m; print([c for c, (n, _) in m.COMMANDS.items() if n in sys.modules])"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        self.assertEqual(told.stdout.strip(), "[]")
