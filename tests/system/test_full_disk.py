"""The disk is full for a while under load: nothing stops, nothing that was kept in memory is lost."""

from __future__ import annotations

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.feed import Feed
from tests.system.process import until
from tests.system.smalldisk import fill, mount_small

DISK_BYTES = 48 << 20
AGE_S = 5400
METRICS = 100
SMALL_LOG = {"WAL_SEGMENT_BYTES": 1 << 20, "WAL_MAX_BYTES": 4 << 20}


class FullDiskTests(SystemTestCase):
    """CADTWIST_SYSTEM_FULL_S tells for how long the disk is full (default 5 s)."""

    def _load(self, daemon: Cadtwistd) -> Feed:
        feed = Feed(daemon.line, "full", self.now - AGE_S, METRICS, rate=10_000)
        feed.start()
        until("files", lambda: list(daemon.whisper.rglob("*.wsp")))
        return feed

    def _while_full(self, daemon: Cadtwistd, feed: Feed) -> None:
        """Go on for some seconds; the daemon must take what is sent and answer."""
        seconds = self.number("CADTWIST_SYSTEM_FULL_S", 5)
        upto = feed.sent + min(seconds * 8_000, AGE_S * METRICS - feed.sent - 40_000)
        daemon.until("the load goes on", lambda: feed.sent >= upto, 60 + 4 * seconds)
        self.assertTrue(daemon.ready() or daemon.json("/ops/status"))

    def _all_is_written(self, daemon: Cadtwistd, feed: Feed) -> None:
        before = feed.sent
        daemon.until("more load", lambda: feed.sent >= before + 10_000, 60)
        sent = feed.end()
        self.assertEqual(feed.faults, [], daemon.tail())
        daemon.until("nothing is pending", lambda: daemon.pending() == 0, 120)
        self.assertEqual(daemon.unbalanced(), {})
        self.assertEqual(daemon.stop(60), 0, daemon.tail())
        self.assertEqual(feed.missing(daemon.whisper, 0, sent)[:5], [])
        self.assertEqual(feed.strange(daemon.whisper, sent)[:5], [])

    def test_no_space_left_on_a_small_mount(self) -> None:
        """A tmpfs filled up by somebody else, and emptied again."""
        storage = self.folder / "cadtwist" / "storage"
        mount_small(self, storage, DISK_BYTES)
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", SMALL_LOG, "1s:2h"))
        feed = self._load(daemon)
        until("the files of all metrics", lambda: len(list(daemon.whisper.rglob("*.wsp"))) == METRICS)
        ballast = storage / "ballast"
        fill(ballast)
        self._while_full(daemon, feed)
        ballast.unlink()
        self._all_is_written(daemon, feed)

    def test_files_that_cannot_be_made_yet(self) -> None:
        """New metrics while there is no space: no broken file stays, and they are made afterwards."""
        storage = self.folder / "cadtwist" / "storage"
        mount_small(self, storage, DISK_BYTES)
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", SMALL_LOG, "1s:2h"))
        daemon.send(f"first.metric 1 {self.now}\n")
        until("the first file", lambda: list(daemon.whisper.rglob("*.wsp")))
        ballast = storage / "ballast"
        fill(ballast)
        daemon.send("".join(f"late.m{n} {n} {self.now}\n" for n in range(50)))
        daemon.settle()
        short = [f for f in daemon.whisper.rglob("*") if f.is_file() and f.stat().st_size < 1000]
        self.assertEqual(short, [])
        ballast.unlink()
        until("all files", lambda: len(list(daemon.whisper.rglob("late/*.wsp"))) == 50, 60)
        self.assertEqual(daemon.datapoints("late.m7", self.now - 10, self.now + 1), {self.now: 7.0})

    def test_no_file_may_grow(self) -> None:
        """The same without a mount, for those who may not mount: every write beyond a few bytes fails."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", SMALL_LOG, "1s:2h"))
        feed = self._load(daemon)
        daemon.limit_file_size(64)
        self._while_full(daemon, feed)
        daemon.limit_file_size(None)
        self._all_is_written(daemon, feed)
