"""A start over many files: answers at once, and the index is complete soon."""

from __future__ import annotations

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.slots import PER_FOLDER, many_files, points


class ManyFilesTests(SystemTestCase):
    """CADTWIST_SYSTEM_FILES tells how many (default 100,000)."""

    def test_start_over_many_files(self) -> None:
        """Ready before the index is complete; a point is taken at once; every file is found in the end."""
        count = self.number("CADTWIST_SYSTEM_FILES", 100_000)
        whisper = self.folder / "cadtwist" / "storage" / "whisper"
        many_files(whisper, count)
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        minute = self.now - self.now % 60
        daemon.send(f"fresh.metric 1 {minute}\n")
        self.assertEqual(daemon.datapoints("fresh.metric", minute - 60, minute), {minute: 1.0})
        last = f"site.h{(count - 1) // PER_FOLDER}"
        found = daemon.until("the last folder is indexed", lambda: daemon.json("/metrics/find", query=f"{last}.*"), 60)
        self.assertEqual(len(found), (count - 1) % PER_FOLDER + 1)
        folders = -(-count // PER_FOLDER)
        daemon.until("all folders", lambda: len(daemon.json("/metrics/find", query="site.*")) == folders)
        self.assertEqual(daemon.stop(60), 0, daemon.tail())
        self.assertEqual(points(whisper, "fresh.metric"), {minute: 1.0})
