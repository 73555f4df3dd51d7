"""carbon's command line."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys

from cadtwist.cli.carbon import START_LOG, StartLog, run
from tests.cli.folder import FolderCase


class CarbonCommandTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("conf/carbon.conf", "[cache]\nLINE_RECEIVER_PORT = 2003\n[cache:b]\nLINE_RECEIVER_PORT = 2103\n")
        self.write("conf/storage-schemas.conf", "[all]\npattern = .*\nretentions = 60s:1d\n")
        self.environ = {"GRAPHITE_ROOT": self.folder}

    def command(self, *argv: str, script: str = "carbon-cache.py") -> tuple[int, list[str]]:
        stdout = io.StringIO()
        status = run("carbon-cache", [script, *argv], stdout, self.environ, self.started.append)
        return status, stdout.getvalue().splitlines()

    def pid_path(self, instance: str = "a") -> str:
        return os.path.join(self.folder, "storage", f"carbon-cache-{instance}.pid")

    def running(self, pid: int | str, instance: str = "a") -> None:
        os.makedirs(os.path.dirname(self.pid_path()), exist_ok=True)
        with open(self.pid_path(instance), "w", encoding="utf-8") as file:
            file.write(f"{pid}\n")

    def dead_pid(self) -> int:
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            return process.pid

    def test_start(self) -> None:
        status, lines = self.command("start")
        self.assertEqual((status, lines), (0, ["Starting carbon-cache (instance a)"]))
        (arguments,) = self.started
        self.assertIn("--no_save", arguments)
        self.assertIn(f"--pidfile={self.pid_path()}", arguments)
        self.assertIn("--umask=022", arguments)
        self.assertNotIn("--nodaemon", arguments)
        self.assertEqual(arguments[arguments.index("carbon-cache") :], ["carbon-cache", "--instance=a"])
        self.assertTrue(os.path.isdir(os.path.dirname(self.pid_path())))

    def test_options_are_handed_on(self) -> None:
        conf = os.path.join(self.folder, "conf", "carbon.conf")
        lists = self.write("conf/white.conf", "^a\n")
        self.command(
            f"--config={conf}", "--instance=b", "--debug", "--pidfile=/tmp/x.pid", "--logdir=/tmp/logs", "--umask=027",
            f"--whitelist={lists}", "--profile=out", "--profiler=cprofile", "start",
        )  # fmt: skip
        (arguments,) = self.started
        ours = arguments.index("carbon-cache")
        twistd, row = arguments[:ours], arguments[ours + 1 :]
        expected = {"--nodaemon", "--pidfile=/tmp/x.pid", "--umask=027", "--profile=out", "--profiler=cprofile"}
        self.assertEqual(expected - set(twistd), set())
        expected = {"--debug", f"--config={conf}", "--instance=b", "--logdir=/tmp/logs", f"--whitelist={lists}"}
        self.assertEqual(set(row), expected)

    def test_a_relay_has_its_section_and_its_rules(self) -> None:
        self.write("conf/carbon.conf", "[relay]\nDESTINATIONS = h:1\n[relay:b]\nDESTINATIONS = h:2\n")
        rules = self.write("conf/mine.conf", "[all]\ndefault = true\ndestinations = h:2\n")
        stdout = io.StringIO()
        argv = ["carbon-relay.py", f"--rules={rules}", "--instance=b", "start"]
        self.assertEqual(run("carbon-relay", argv, stdout, self.environ, self.started.append), 0, stdout.getvalue())
        (arguments,) = self.started
        self.assertEqual(stdout.getvalue(), "Starting carbon-relay (instance b)\n")
        self.assertEqual(arguments[arguments.index("carbon-relay") + 1 :], ["--instance=b", f"--rules={rules}"])
        self.assertIn(f"--pidfile={os.path.join(self.folder, 'storage', 'carbon-relay-b.pid')}", arguments)
        argv = ["carbon-relay.py", f"--rules={rules}", "start"]
        self.assertEqual(run("carbon-relay", argv, stdout, self.environ, self.started.append), 1)
        self.assertIn("none of them is in DESTINATIONS", stdout.getvalue())

    def test_syslog(self) -> None:
        self.command("--syslog", "start")
        self.assertIn("--syslog", self.started[0])
        self.assertIn(f"--prefix=carbon-cache-a[{os.getpid()}]", self.started[0])

    def test_twistd_understands_what_it_is_given(self) -> None:
        from twisted.scripts._twistd_unix import ServerOptions

        self.command("--nodaemon", "start")
        arguments = self.started[0]
        options = ServerOptions()
        arguments.remove("--reactor=epoll")  # it would install one
        options.parseOptions(arguments[: arguments.index("carbon-cache")])
        self.assertEqual(options["umask"], 0o22)

    def test_root_is_found_from_the_script(self) -> None:
        self.environ = {}
        status, _ = self.command("start", script=os.path.join(self.folder, "bin", "carbon-cache.py"))
        self.assertEqual((status, self.environ["GRAPHITE_ROOT"]), (0, self.folder))

    def test_already_running(self) -> None:
        self.running(os.getpid())
        status, lines = self.command("start")
        self.assertEqual(status, 1)
        self.assertEqual(lines, [f"carbon-cache (instance a) is already running with pid {os.getpid()}"])
        self.assertEqual(self.started, [])

    def test_stale_pid_file_is_removed(self) -> None:
        self.running(self.dead_pid())
        status, lines = self.command("start")
        self.assertEqual(status, 0)
        self.assertEqual(lines, [f"Removing stale pidfile {self.pid_path()}", "Starting carbon-cache (instance a)"])
        self.assertEqual(len(self.started), 1)

    def test_unreadable_pid_file_is_removed_and_nothing_is_started(self) -> None:
        self.running("hello")
        self.assertEqual(self.command("start")[0], 1)
        self.assertFalse(os.path.exists(self.pid_path()))
        self.assertEqual(self.started, [])

    def test_status(self) -> None:
        self.assertEqual(self.command("status"), (1, ["carbon-cache (instance a) is not running"]))
        self.running(os.getpid())
        self.assertEqual(self.command("status"), (0, [f"carbon-cache (instance a) is running with pid {os.getpid()}"]))
        self.assertEqual(self.command("--instance=b", "status"), (1, ["carbon-cache (instance b) is not running"]))

    def test_stop_without_pid_file(self) -> None:
        status, lines = self.command("stop")
        self.assertEqual(status, 0)
        self.assertIn(self.pid_path(), lines[0])

    def test_stop_signals_the_process(self) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            self.running(process.pid)
            self.assertEqual(self.command("stop"), (0, [f"Sending kill signal to pid {process.pid}"]))
            self.assertEqual(process.wait(), -signal.SIGTERM)

    def test_stop_of_what_is_gone(self) -> None:
        self.running(self.dead_pid())
        self.assertEqual(self.command("stop")[0], 0)

    def test_actions(self) -> None:
        status, lines = self.command()
        self.assertEqual(status, 0)
        self.assertIn("usage", lines[0])
        self.assertEqual(self.command("restart"), (1, ["Invalid action 'restart'"]))

    def test_faults_of_the_configuration_are_shown(self) -> None:
        path = self.write("conf/carbon.conf", "[cache]\nMAX_UPDATES_PER_SECOND = many\n")
        status, lines = self.command("start")
        self.assertEqual((status, self.started), (1, []))
        self.assertTrue(any(line.startswith(f"{path}:2:") for line in lines), lines)

    def test_unknown_option(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
            self.command("--frobnicate", "start")
        self.assertEqual(ended.exception.code, 2)

    def test_a_daemon_tells_why_it_did_not_start(self) -> None:
        self.command("start")
        self.assertIn("--logger=cadtwist.cli.carbon.StartLog", self.started[0])
        observer = StartLog(self.environ)
        observer({"log_format": "chatter", "log_namespace": "x", "log_time": 0.0})
        self.assertFalse(os.path.exists(self.environ[START_LOG]))
        observer({"log_format": "{text}", "text": "port is taken", "log_namespace": "stderr", "log_time": 0.0})
        with open(self.environ[START_LOG], encoding="utf-8") as file:
            self.assertRegex(file.read(), r"^01/01/1970 \d\d:00:00 :: port is taken\n$")
