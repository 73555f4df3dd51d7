"""The command of statsd's cluster proxy."""

from __future__ import annotations

import io
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.consolelog import LEVEL
from cadtwist.cli.statsdproxy import run


class ProxyCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.environ: dict[str, str] = {}
        self.started: list[list[str]] = []

    def write(self, text: str) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def command(self, *argv: str) -> tuple[int, str]:
        err = io.StringIO()
        return run(argv, err, self.environ, self.started.append), err.getvalue()

    def test_start(self) -> None:
        self.write("{nodes: [{host: 'h', port: 1, adminport: 2}]}")
        for argv, level in (((self.path,), "info"), (("--debug", f"--config={self.path}"), "debug")):
            self.assertEqual(self.command(*argv), (0, ""))
            self.assertEqual(self.started[-1][-2:], ["statsd-proxy", f"--config={self.path}"])
            self.assertEqual(self.environ[LEVEL], level)

    def test_faults(self) -> None:
        self.write("{nodes: []}")
        status, err = self.command(self.path)
        self.assertEqual((status, self.started), (1, []))
        self.assertIn(f"{self.path}:1: nodes: at least one node", err)
