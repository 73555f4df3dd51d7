"""statsrelay's command line, against what was recorded of it."""

from __future__ import annotations

import io
import json
import os

from cadtwist.cli.consolelog import FIRST, LEVEL, STDERR, SYSLOG
from cadtwist.cli.statsrelay import VERSION, run
from tests.cli.folder import FolderCase

_RECORDED = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "statsrelay")


class StatsrelayCommandTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        with open(os.path.join(_RECORDED, "process.json"), encoding="utf-8") as file:
            self.recorded = json.load(file)
        self.good = self.write("good.json", '{"statsd": {"shard_map": ["127.0.0.1:8128"]}}')
        self.empty = self.write("empty.json", '{"statsd": {}}')

    def command(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        status = run(["/usr/bin/statsrelay", *argv], out, err, self.environ, self.started.append)
        return status, out.getvalue(), err.getvalue()

    def test_version_and_wrong_options_are_told_as_recorded(self) -> None:
        for name in ("version", "badopt"):
            recorded = self.recorded[name]
            expected = (recorded["rc"], recorded["stdout"], recorded["stderr"])
            self.assertEqual(self.command(*recorded["argv"][1:]), expected)
        self.assertEqual(self.command("-V")[0], 0)
        for argv, text in (
            (["-x"], "invalid option -- 'x'"),
            (["-c"], "option requires an argument -- 'c'"),
            (["--pid"], "option '--pid' requires an argument"),
        ):
            expected = (1, "", f"statsrelay: {text}\nstatsrelay: Unknown argument ?\n")
            self.assertEqual(self.command(*argv), expected)

    def test_help_names_every_option_and_fails(self) -> None:
        status, out, err = self.command("-h")
        self.assertEqual((status, err), (self.recorded["help"]["rc"], ""))
        for line in self.recorded["help"]["stdout"].splitlines():
            for word in line.replace("=", " ").split():
                if word.startswith("--"):
                    self.assertIn(word.rstrip(","), out)

    def test_check(self) -> None:
        for path in (self.good, self.empty):
            self.assertEqual(self.command("-S", "-t", path), (0, "", ""))
        bad = self.write("bad.json", "root:x:0:0\n")
        for path in (bad, os.path.join(self.folder, "none.json")):
            status, out, err = self.command(f"--check-config={path}")
            self.assertEqual((status, out), (1, ""))
            self.assertTrue(err.startswith(f"ERROR: {path}"), err)
            self.assertTrue(err.endswith("ERROR: failed to parse config\n"), err)
        self.assertEqual(self.started, [])

    def test_a_start_that_cannot_be(self) -> None:
        for path, name in ((self.empty, "empty"), (os.path.join(self.folder, "none.json"), "missing")):
            status, out, err = self.command("-S", "-c", path)
            self.assertEqual((status, out, self.started), (self.recorded[name]["rc"], "", []))
            self.assertTrue(err.startswith("ERROR: "), err)
            self.assertEqual(err == self.recorded[name]["stderr"], name == "empty", err)

    def test_start(self) -> None:
        self.assertEqual(self.command("-c", self.good), (0, "", ""))
        (arguments,) = self.started
        ours = arguments.index("statsrelay")
        self.assertEqual(arguments[ours:], ["statsrelay", f"--config={self.good}"])
        self.assertIn("--nodaemon", arguments)
        self.assertIn("--pidfile=", arguments)
        began = f"statsrelay {VERSION}"
        self.assertEqual(self.environ, {LEVEL: "info", STDERR: "error", SYSLOG: "statsrelay", FIRST: began})

    def test_what_is_logged_and_where(self) -> None:
        for argv, expected in (
            (("-S", "-v"), ("info", "all", "")),
            (("-l", "warn"), ("warn", "error", "statsrelay")),
            (("--log-level=DEBUG", "--no-syslog"), ("debug", "all", "")),
            (("-l", "loud"), ("info", "error", "statsrelay")),
        ):
            self.command(*argv, "-c", self.good, "-p", "pid")
            found = (self.environ[LEVEL], self.environ[STDERR], self.environ[SYSLOG])
            self.assertEqual(found, expected)
            self.assertEqual(self.started[-1][-1], f"--pid-file={os.path.abspath('pid')}")
