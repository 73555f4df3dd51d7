"""Tests of `cadtwist.cli.dattsskey`."""

from __future__ import annotations

import contextlib
import io
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.dattsskey import run
from cadtwist.codec.dattss import DattssKeys

DOORS = '[[listeners]]\nprotocol = "dattss"\nport = 3002\n'


class KeyTests(SynchronousTestCase):
    def setUp(self) -> None:
        os.makedirs(self.mktemp())
        self.path = os.path.abspath(self.mktemp()) + ".toml"
        self.write(f'{DOORS}[dattss]\nsecret = "one"\nfirst_secret = "two"\n')

    def write(self, text: str) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def run_with(self, *argv: str) -> tuple[int, str, str]:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(stderr):
            status = run(["-c", self.path, *argv], stdout, {})
        return status, stdout.getvalue(), stderr.getvalue()

    def test_keys_that_the_server_takes(self) -> None:
        status, out, _ = self.run_with("me", "you")
        keys = DattssKeys("one", "two")
        self.assertEqual((status, [keys.user(key) for key in out.split()]), (0, ["me", "you"]))
        status, out, _ = self.run_with("--first", "me")
        self.assertEqual((status, keys.user(out.strip()), "_" in out), (0, "me", True))

    def test_faults(self) -> None:
        for argv in (("a.b",), ("",), ("--first", "a_b"), ("a/b",)):
            self.assertEqual(self.run_with(*argv)[0], 2)
        self.write("[cache]\n")
        status, _, err = self.run_with("me")
        self.assertEqual((status, "has no [dattss]" in err), (2, True))
        self.write(f"{DOORS}[dattss]\n")
        status, _, err = self.run_with("me")
        self.assertEqual((status, "dattss.secret" in err), (2, True))
