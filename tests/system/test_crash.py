"""kill -9 under load, again and again: what the ledger had counted as logged is there afterwards, once."""

from __future__ import annotations

from tests.seeds import chance_of, told
from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.feed import Feed
from tests.system.process import until

RETENTIONS = "1s:2h"
AGE_S = 5400
METRICS = 100


class CrashTests(SystemTestCase):
    """CADTWIST_SYSTEM_KILLS tells how often (default 10); the seed is printed with every failure."""

    def setUp(self) -> None:
        super().setUp()
        self.chance = chance_of(self.id())
        self.daemon = Cadtwistd(
            self.folder / "cadtwist",
            {"MAX_UPDATES_PER_SECOND": 200, "WAL_SEGMENT_BYTES": 1 << 20, "WAL_MAX_BYTES": 8 << 20},
            RETENTIONS,
        )
        self.addCleanup(self.daemon.kill)

    def test_what_was_logged_survives(self) -> None:
        """Each round starts, feeds, kills at a random moment; in the end every logged datapoint is in its file."""
        fed: list[tuple[Feed, int]] = []
        for round_ in range(self.number("CADTWIST_SYSTEM_KILLS", 10)):
            self.daemon.start()
            self._books_close()
            already = self.daemon.logged()
            feed = Feed(self.daemon.line, f"run{round_}", self.now - AGE_S, METRICS)
            feed.start()
            enough = self.chance.randrange(1, 60_000)
            logged = until("enough logged", lambda already=already, enough=enough: self._logged(already, enough))
            self.daemon.kill()
            feed.end()
            self.assertLessEqual(logged, feed.sent, told())
            fed.append((feed, logged))
        self.daemon.write_conf(MAX_UPDATES_PER_SECOND="inf")
        self.daemon.start()
        self._books_close()
        self.assertEqual(self.daemon.stop(60), 0, self.daemon.tail())
        for feed, logged in fed:
            self.assertEqual(feed.missing(self.daemon.whisper, 0, logged)[:5], [], told())
            self.assertEqual(feed.strange(self.daemon.whisper, feed.sent + 250)[:5], [], told())

    def _logged(self, already: int, enough: int) -> int:
        logged = self.daemon.logged() - already
        return logged if logged >= enough else 0

    def _books_close(self) -> None:
        self.assertEqual(self.daemon.unbalanced(), {}, told())


    def test_a_second_start_replays_nothing_twice(self) -> None:
        """Everything is written and the log released: the next start finds nothing to do."""
        self.daemon.write_conf(MAX_UPDATES_PER_SECOND="inf")
        self.daemon.start()
        feed = Feed(self.daemon.line, "once", self.now - AGE_S, METRICS)
        feed.start()
        until("some datapoints", lambda: feed.sent > 20_000)
        sent = feed.end()
        self.assertEqual(self.daemon.stop(60), 0)
        self.assertEqual(feed.missing(self.daemon.whisper, 0, sent)[:5], [])
        self.daemon.start()
        self.assertEqual(self.daemon.pending(), 0)
        self._books_close()
