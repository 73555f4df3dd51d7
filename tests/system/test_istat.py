"""A counter daemon is killed, again and again, and handed over under load."""

from __future__ import annotations

import socket

from tests.seeds import chance_of, told
from tests.system.case import SystemTestCase
from tests.system.istatd import CounterFeed, Istatd
from tests.system.loads import Asker
from tests.system.process import NotReady, end_serving, hand_over, until

AGE_S = 80_000
COUNTERS = 100


class CounterCrashTests(SystemTestCase):
    """CADTWIST_SYSTEM_KILLS tells how often (default 5); the seed is printed with every failure."""

    def setUp(self) -> None:
        super().setUp()
        self.chance = chance_of(self.id())
        self.daemon = Istatd(self.folder / "istatd", 2)
        self.addCleanup(self.daemon.kill)

    def test_what_was_logged_survives_once(self) -> None:
        fed: list[tuple[CounterFeed, int]] = []
        for round_ in range(self.number("CADTWIST_SYSTEM_KILLS", 5)):
            self.daemon.start()
            self.assertEqual(self.daemon.unbalanced(), {}, told())
            already = self.daemon.logged()
            feed = CounterFeed(self.daemon.stat, f"run{round_}", self.now - AGE_S, COUNTERS)
            feed.start()
            enough = self.chance.randrange(1, 40_000)
            logged = until("enough logged", lambda already=already, enough=enough: self._logged(already, enough))
            self.daemon.kill()
            feed.end()
            fed.append((feed, logged))
        self.daemon.start()
        self.assertEqual(self.daemon.unbalanced(), {}, told())
        self.assertEqual(self.daemon.stop(60), 0, self.daemon.tail())
        for feed, logged in fed:
            self.assertEqual(feed.check(self.daemon, logged)[:5], [], f"{told()} {feed.name_}")

    def _logged(self, already: int, enough: int) -> int:
        logged = self.daemon.logged() - already
        return logged if logged >= enough else 0



class CounterHandoverTests(SystemTestCase):
    """SIGUSR2 under load."""

    def test_nothing_is_refused_and_nothing_is_lost(self) -> None:
        daemon = self.started(Istatd(self.folder / "istatd", 2))
        self.addCleanup(end_serving, daemon.serving)
        feed = CounterFeed(daemon.stat, "hand", self.now - AGE_S, COUNTERS)
        feed.start()
        asker = Asker("asker", daemon.http, "/?q=*")
        asker.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 3)):
            until("some came", lambda: daemon.logged() > 1000)
            hand_over(daemon.serving)
        until("some came", lambda: daemon.logged() > 1000)
        sent = feed.end()
        asker.end()
        self.assertEqual((asker.faults, asker.connects), ([], 1))
        until("all came", lambda: daemon.ledger()["istat counters"]["received"] > 0)
        end_serving(daemon.serving)
        self.assertEqual(feed.check(daemon, sent)[:5], [])


class CounterDoorTests(SystemTestCase):
    """Where a daemon listens."""

    def test_listen_address(self) -> None:
        daemon = self.started(Istatd(self.folder / "istatd", 300))
        for port in (daemon.stat, daemon.http, daemon.admin):
            socket.create_connection(("127.0.0.1", port), 10).close()
            self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.2", port), 10)
        daemon.stop()
        daemon.options["listen-address"] = "1.2.3"
        self.assertRaises(NotReady, daemon.start)
        self.assertIn("'1.2.3' is no IP address", daemon.tail())
