"""Posting of tagged series: order, batches, retries and bounds."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.tagdb import POLL_S, TagPoster, multipart
from cadtwist.telemetry import Account


class TagPosterTests(SynchronousTestCase):
    """A poster over a Clock and a recorded transport."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.posts: list[tuple[str, list[str]]] = []
        self.answers: list[Deferred[int]] = []
        self.account = Account("tags")
        self.poster = TagPoster(self.clock, self.post, "http://db/", self.account, batch_size=2, queue_size=3)
        self.poster.startService()
        self.addCleanup(self.poster.stopService)

    def post(self, url: str, names: list[str]) -> Deferred[int]:
        self.posts.append((url, names))
        return self.answers.pop(0) if self.answers else succeed(200)

    def test_new_series_come_before_updates_in_batches(self) -> None:
        self.poster.update("u;a=1")
        self.poster.add("n;a=1")
        self.poster.add("m;a=1")
        self.clock.advance(POLL_S)
        self.clock.advance(0)
        url = "http://db/tags/tagMultiSeries"
        self.assertEqual(self.posts, [(url, ["n;a=1", "m;a=1"]), (url, ["u;a=1"])])
        self.assertEqual(self.account.counters["series_posted"], 3)

    def test_a_refused_batch_is_tried_again_later(self) -> None:
        self.answers = [fail(OSError("down")), succeed(500)]
        self.poster.add("n;a=1")
        self.clock.advance(POLL_S)
        self.clock.pump([0.5] * 20)
        self.assertEqual([names for _, names in self.posts], [["n;a=1"]] * 3)
        self.assertEqual(self.account.counters["failed_posts"], 2)
        self.assertEqual(self.account.gauges["queued_new"](), 0)

    def test_a_full_queue_is_counted(self) -> None:
        for i in range(5):
            self.poster.add(f"n{i};a=1")
        self.assertEqual(self.account.counters["queue_full"], 2)

    def test_nothing_is_posted_after_the_stop(self) -> None:
        self.poster.add("n;a=1")
        self.poster.stopService()
        self.clock.advance(60)
        self.assertEqual(self.posts, [])
        self.poster.startService()

    def test_a_body_has_one_field_per_series(self) -> None:
        body = multipart(["a;b=1", "c"], "X").decode()
        self.assertEqual(body.count('name="path"'), 2)
        self.assertIn("\r\n\r\na;b=1\r\n--X\r\n", body)
        self.assertTrue(body.endswith("\r\nc\r\n--X--\r\n"))
