"""Start, reload and stop."""

from __future__ import annotations

import signal

from tests.system.cadtwistd import SCHEMAS, Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.process import until
from tests.system.slots import archives, path_of, points


class StopTests(SystemTestCase):
    """SIGTERM writes what is pending, at the configured speed."""

    def test_a_graceful_stop_drains(self) -> None:
        """Five updates a second before, unlimited on shutdown: all files are complete, and the exit code is 0."""
        limits = {"MAX_UPDATES_PER_SECOND": 5, "MAX_UPDATES_PER_SECOND_ON_SHUTDOWN": "inf"}
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", limits))
        minute = self.now - self.now % 60
        daemon.send("".join(f"drain.m{n} {n} {minute}\n" for n in range(2000)))
        self.assertGreater(daemon.pending(), 1000)
        self.assertEqual(daemon.stop(60), 0, daemon.tail())
        for n in range(2000):
            self.assertEqual(points(daemon.whisper, f"drain.m{n}"), {minute: n})

    def test_what_is_pending_survives_a_kill(self) -> None:
        """What no update was allowed for is in the log, and in its file after the next start."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"MAX_UPDATES_PER_SECOND": 5}))
        minute = self.now - self.now % 60
        daemon.send("".join(f"kept.m{n} {n} {minute}\n" for n in range(500)))
        until("all logged", lambda: daemon.logged() >= 500)
        daemon.kill()
        daemon.write_conf(MAX_UPDATES_PER_SECOND="inf")
        daemon.start()
        daemon.until("nothing is pending", lambda: daemon.pending() == 0)
        for n in range(500):
            self.assertEqual(points(daemon.whisper, f"kept.m{n}"), {minute: n})


class ReloadTests(SystemTestCase):
    """SIGHUP reads the files again."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"SCHEMAS_RELOAD_INTERVAL": 0}))
        self.schemas = self.daemon.folder / "storage-schemas.conf"

    def _archive_of(self, metric: str) -> set[int]:
        self.daemon.send(f"{metric} 1 {self.now}\n")
        path = path_of(self.daemon.whisper, metric)
        self.daemon.until(f"the file of {metric}", path.exists)
        return set(archives(path))

    def test_new_schemas_count_for_new_files(self) -> None:
        """The old file stays as it is."""
        self.assertEqual(self._archive_of("before.one"), {60})
        self.schemas.write_text(SCHEMAS.format(retentions="10s:1h"))
        self.daemon.signal(signal.SIGHUP)
        names = iter(range(1000))
        until("new files have the new schema", lambda: self._archive_of(f"after.m{next(names)}") == {10})
        self.assertEqual(set(archives(path_of(self.daemon.whisper, "before.one"))), {60})
        self.assertEqual(self.daemon.unbalanced(), {})

    def test_a_faulty_file_changes_nothing(self) -> None:
        """The daemon goes on with what it had, and says why."""
        self.schemas.write_text("[all]\npattern = .*\nretentions = nonsense\n")
        self.daemon.signal(signal.SIGHUP)
        self.daemon.until("a complaint", lambda: "nonsense" in self.daemon.tail())
        self.assertEqual(self._archive_of("still.one"), {60})

    def test_reload_under_load_loses_nothing(self) -> None:
        """Twenty reloads while points arrive: all are there, the books close."""
        minute = self.now - self.now % 60
        for round_ in range(20):
            self.daemon.write_conf(MAX_UPDATES_PER_SECOND=1000 + round_)
            self.daemon.signal(signal.SIGHUP)
            self.daemon.send("".join(f"reload.m{n} {round_} {minute - 60 * round_}\n" for n in range(200)))
        self.assertEqual(self.daemon.unbalanced(), {})
        self.assertEqual(self.daemon.stop(60), 0, self.daemon.tail())
        wanted = {minute - 60 * round_: float(round_) for round_ in range(20)}
        for n in range(200):
            self.assertEqual(points(self.daemon.whisper, f"reload.m{n}"), wanted)


class StartTests(SystemTestCase):
    """What goes wrong at start is said once, with the exit code carbon has."""

    def test_a_faulty_configuration(self) -> None:
        """Every fault is named with file and line."""
        daemon = Cadtwistd(self.folder / "cadtwist", {"MAX_UPDATES_PER_SECOND": "many", "LINE_RECEIVER_PORT": 99999})
        self.addCleanup(daemon.kill)
        self.assertRaises(AssertionError, daemon.start)
        self.assertEqual(daemon.exit_code(), 1)
        for word in ("carbon.conf:", "MAX_UPDATES_PER_SECOND", "LINE_RECEIVER_PORT"):
            self.assertIn(word, daemon.tail())
        self.assertNotIn("Traceback", daemon.tail())

    def test_a_port_that_is_taken(self) -> None:
        """The second daemon says so and ends."""
        first = self.started(Cadtwistd(self.folder / "first"))
        second = Cadtwistd(self.folder / "second", {"LINE_RECEIVER_PORT": first.line})
        self.addCleanup(second.kill)
        self.assertRaises(AssertionError, second.start)
        self.assertIn(str(first.line), second.tail())
        self.assertNotEqual(second.exit_code(), 0)
