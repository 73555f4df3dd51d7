"""Impatient stops, starts that fail, and names whose files others make or remove."""

from __future__ import annotations

import shutil
import signal
import socket

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.process import Process, until
from tests.system.slots import path_of, points


class ImpatienceTests(SystemTestCase):
    """A second SIGTERM while the daemon drains."""

    def drain_slowly(self, **options: object) -> Cadtwistd:
        """Return a daemon that was told to stop and would need minutes for what is pending."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"MAX_UPDATES_PER_SECOND": 5, **options}))
        minute = self.now - self.now % 60
        daemon.send("".join(f"left.m{n} {n} {minute}\n" for n in range(1000)))
        self.assertGreater(daemon.pending(), 900)
        daemon.signal(signal.SIGTERM)
        daemon.until("the doors are closed", lambda: not listens(daemon.line))
        return daemon

    def test_the_log_keeps_the_rest(self) -> None:
        """It ends at once, and the next start has everything."""
        daemon = self.drain_slowly()
        self.assertTrue(daemon.alive())
        self.assertEqual(daemon.stop(10), 0, daemon.tail())
        self.assertIn("stay in the log", daemon.tail())
        daemon.write_conf(MAX_UPDATES_PER_SECOND="inf")
        daemon.start()
        daemon.until("nothing is pending", lambda: daemon.pending() == 0)
        minute = self.now - self.now % 60
        for n in range(1000):
            self.assertEqual(points(daemon.whisper, f"left.m{n}"), {minute: n})

    def test_without_a_log_it_hurries(self) -> None:
        """Nothing is lost: the rest is written without a limit."""
        daemon = self.drain_slowly(WAL_ENABLED="False")
        self.assertEqual(daemon.stop(20), 0, daemon.tail())
        self.assertEqual(len(list((daemon.whisper / "left").iterdir())), 1000)

    def test_a_drained_stop_leaves_no_log(self) -> None:
        """What is in files is not read again."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        daemon.send(f"gone.one 1 {self.now}\n")
        self.assertEqual(daemon.stop(20), 0, daemon.tail())
        self.assertEqual(list(daemon.wal.rglob("*.seg")), [])
        daemon.start()
        self.assertEqual(daemon.ledger()["write-ahead log"]["counters"].get("replayed", 0), 0)


class FailedStartTests(SystemTestCase):
    """One clear line, and the exit code of the row."""

    def fails(self, daemon: Process, status: int, *words: str) -> None:
        """The daemon ends by itself, in order, with `status`, and says `words`."""
        self.addCleanup(daemon.kill)
        self.assertRaises(AssertionError, daemon.start, 20)
        self.assertEqual(daemon.exit_code(), status, daemon.tail())
        for word in words:
            self.assertIn(word, daemon.tail())
        self.assertNotIn("Traceback", daemon.tail())

    def test_the_log_is_in_use(self) -> None:
        """Two daemons never share a log."""
        first = self.started(Cadtwistd(self.folder / "first"))
        self.fails(Cadtwistd(self.folder / "second", {"WAL_DIR": first.wal}), 1, "in use by another process")

    def test_a_door_is_taken(self) -> None:
        """With a log and without one, the door of a receiver or that of the API."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            for number, options in enumerate(
                (
                    {"LINE_RECEIVER_PORT": port},
                    {"LINE_RECEIVER_PORT": port, "WAL_ENABLED": "False"},
                    {"HTTP_PORT": port},
                )
            ):
                daemon = Cadtwistd(self.folder / str(number), {**options})
                daemon.ports = ()
                self.fails(Quiet(daemon), 1, f"cannot listen on 127.0.0.1:{port}")

    def test_a_bad_certificate(self) -> None:
        """The file is named."""
        pem = self.folder / "bad.pem"
        pem.write_text("nonsense")
        daemon = Cadtwistd(self.folder / "daemon", {"LINE_RECEIVER_TLS_CERTIFICATE": pem})
        self.fails(daemon, 1, "certificate")

    def test_the_native_row_has_its_own_code(self) -> None:
        """It is 2 there."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            text = (
                f'[[listeners]]\nprotocol = "line"\ninterface = "127.0.0.1"\nport = {taken.getsockname()[1]}\n'
                f'[cache]\n[wal]\ndirectory = "{self.folder}/wal"\n[storage]\nroot = "{self.folder}/whisper"\n'
            )
            conf = self.folder / "c.toml"
            conf.write_text(text)
            command = [*RUN_TWISTD, "-n", "--pidfile=", "cadtwist", f"--config={conf}"]
            self.fails(Ended("native", command, self.folder, cwd=ROOT), 2, "cannot listen")


class Ended(Process):
    """A program that is ready when it has ended."""

    def wait_ready(self, seconds: float) -> None:
        """Wait for its end, then say that it is gone."""
        until("it ended", lambda: not self.alive(), seconds)
        raise AssertionError("ended")


class Quiet(Ended):
    """A daemon of which only the end is of interest."""

    def __init__(self, daemon: Cadtwistd) -> None:
        super().__init__(daemon.name, daemon.command, daemon.folder, daemon.environ, cwd=daemon.cwd)


class RescanTests(SystemTestCase):
    """Files that others make or remove."""

    def test_names_follow_the_files(self) -> None:
        """A copied file is found, a removed one no longer, and a name with pending points stays."""
        options = {"FILES_RESCAN_INTERVAL": 0.5, "METRIC_NAMES_IDLE": 3600}
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", options))
        daemon.send(f"seen.one 1 {self.now}\nseen.two 2 {self.now}\n")
        two = path_of(daemon.whisper, "seen.two")
        daemon.until("the files", lambda: two.exists() and path_of(daemon.whisper, "seen.one").exists())
        shutil.copy(two, two.with_name("three.wsp"))
        two.unlink()
        daemon.until("the names are those of the files", lambda: self.found(daemon) == ["seen.one", "seen.three"])
        daemon.send(f"seen.two 3 {self.now}\n")
        daemon.until("it is back", lambda: self.found(daemon) == ["seen.one", "seen.three", "seen.two"])
        self.assertEqual(daemon.unbalanced(), {})

    def found(self, daemon: Cadtwistd) -> list[str]:
        """Return the names below `seen`."""
        answer = daemon.json("/metrics/find", query="seen.*", format="completer")
        return sorted(row["path"] for row in answer["metrics"])


def listens(port: int) -> bool:
    """Tell whether somebody accepts at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
