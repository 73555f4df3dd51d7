"""Somebody resizes, renames or deletes whisper files under load: no point goes into a file that is no more there."""

from __future__ import annotations

import subprocess

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.environment import program
from tests.system.feed import Feed
from tests.system.process import until
from tests.system.slots import archives, path_of

METRICS = 20
AGE_S = 5400


class ReplacedFilesTests(SystemTestCase):
    """Points sent after the change must be in the file that then has the metric's path."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist", retentions="1s:2h"))
        self.feed = Feed(self.daemon.line, "live", self.now - AGE_S, METRICS, rate=2_000)
        self.feed.start()
        self.addCleanup(self.feed.end)
        until("all files", lambda: len(list(self.daemon.whisper.rglob("*.wsp"))) == METRICS)

    def _path(self, number: int) -> str:
        return str(path_of(self.daemon.whisper, f"live.m{number}"))

    def _more(self) -> int:
        """Let at least two more rounds arrive; return the first datapoint that was certainly sent after this call."""
        first = self.feed.sent + 2_000
        self.daemon.until("more load", lambda: self.feed.sent > first + 2_000)
        return first

    def _all_since(self, first: int) -> None:
        sent = self.feed.end()
        self.assertEqual(self.feed.faults, [], self.daemon.tail())
        self.assertEqual(self.daemon.stop(60), 0, self.daemon.tail())
        self.assertEqual(self.feed.missing(self.daemon.whisper, first, sent)[:5], [])

    def test_whisper_resize(self) -> None:
        """The whisper-resize of carbon's world puts a new file in the old one's place."""
        self.needs("carbon")
        for number in range(5):
            command = [program("carbon", "python"), program("carbon", "whisper-resize.py"), "--nobackup"]
            subprocess.run([*command, self._path(number), "1s:3h", "1m:1d"], check=True, capture_output=True)
        self._all_since(self._more())
        for number in range(5):
            self.assertEqual(set(archives(path_of(self.daemon.whisper, f"live.m{number}"))), {1, 60})

    def test_rename_and_delete(self) -> None:
        """A file moved away or deleted is made anew; what moved away stays as it was."""
        moved = path_of(self.daemon.whisper, "live.m1")
        target = moved.with_name("elsewhere.wsp")
        moved.rename(target)
        path_of(self.daemon.whisper, "live.m2").unlink()
        first = self._more()
        frozen = target.read_bytes()
        self._all_since(first)
        self.assertEqual(target.read_bytes(), frozen)

    def test_a_file_restored_from_elsewhere(self) -> None:
        """A copy renamed over the live file is used from then on."""
        live = path_of(self.daemon.whisper, "live.m3")
        copy = live.with_name("copy.tmp")
        copy.write_bytes(live.read_bytes())
        copy.rename(live)
        self._all_since(self._more())

    def test_a_folder_deleted_with_all_in_it(self) -> None:
        """The folder comes back with its files."""
        folder = self.daemon.whisper / "live"
        folder.rename(self.daemon.whisper / "gone")
        self._all_since(self._more())
