"""istatd's own command line."""

from __future__ import annotations

import io
import os

from cadtwist.cli.consolelog import LEVEL
from cadtwist.cli.istatd import run
from cadtwist.config.istatoptions import ISTATD_OPTIONS
from cadtwist.services.istattap import COMMAND
from tests.cli.folder import FolderCase


class IstatdCommandTests(FolderCase):
    def command(self, *argv: str) -> tuple[int, str]:
        err = io.StringIO()
        status = run(argv, err, self.environ, self.started.append)
        return status, err.getvalue()

    def test_starts_in_the_foreground(self) -> None:
        path = self.write("x.cfg", "--store /s\n--log-file /var/log/istatd.log\n")
        self.assertEqual(self.command("--config", path, "--flush", "7"), (0, ""))
        (arguments,) = self.started
        self.assertEqual(arguments[arguments.index("istat") :], ["istat", f"--config={path}", "--flush", "7"])
        self.assertIn("--nodaemon", arguments)
        self.assertIn("--umask=022", arguments)
        self.assertEqual((self.environ[COMMAND], self.environ[LEVEL]), ("1", "warn"))

    def test_goes_to_the_background_and_logs_beside_where_it_began(self) -> None:
        self.assertEqual(self.command("--config", self.write("x.cfg", "--store /s\n--daemonize\n")), (0, ""))
        (arguments,) = self.started
        self.assertNotIn("--nodaemon", arguments)
        self.assertEqual(arguments[-2:], ["--log-file", os.path.abspath("istat.log")])

    def test_no_file_is_needed(self) -> None:
        status, err = self.command("--agent", "h:1")
        self.assertEqual((status, err), (0, "istatd.cfg: not there; the command line alone counts\n"))
        self.assertEqual(self.started[0][-5:-2], ["istat", "--agent", "h:1"])

    def test_faults(self) -> None:
        missing = os.path.join(self.folder, "none.cfg")
        status, err = self.command("--config", missing, "--store", "/s")
        self.assertEqual(status, 1)
        self.assertIn(f"{missing}: cannot be read", err)
        status, err = self.command("--store", "/s", "--nosuch")
        self.assertEqual(status, 1)
        self.assertIn("command line:3: nosuch: unknown option", err)
        self.assertIn("--store (/s)", err)
        for argv in ((), ("--store", "/s", "--listen-address", "1.2.3")):
            self.assertEqual(self.command(*argv)[0], 2, argv)
        self.assertEqual(self.started, [])

    def test_help_shows_every_option(self) -> None:
        status, err = self.command("--help")
        self.assertEqual(status, 1)
        for option in ISTATD_OPTIONS:
            self.assertIn(f"--{option.name}", err)

    def test_one_process_for_each_pid_file(self) -> None:
        path = self.write("x.pid", f"{os.getppid()}\n")
        status, err = self.command("--store", "/s", "--pid-file", path)
        self.assertEqual((status, self.started), (1, []))
        self.assertIn(f"process {os.getppid()} is running already", err)
        self.write("x.pid", "rubbish")
        self.assertEqual(self.command("--store", "/s", "--pid-file", path)[0], 0)
