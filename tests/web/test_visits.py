"""What requests cost: in the log, and in histograms."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from cadtwist.telemetry import Telemetry
from cadtwist.web.site import ApiSite
from cadtwist.web.visits import COUNTED, Cost, Visits
from tests.web.test_site import make
from tests.web.wire import get


class Timer:
    """Counts as told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class VisitsTests(SynchronousTestCase):
    def setUp(self):
        self.timer, self.events, self.counts = Timer(), [], Counter()
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.cost = Cost(self.timer)

    def visits(self, **more):
        return Visits(lambda what, amount: self.counts.update({what: amount}), **more)

    def texts(self):
        return [event["log_format"].format(**event) for event in self.events if "asked" in event]

    def spend(self):
        for phase, seconds in (("names", 0.25), ("read", 0.5), ("encode", 0.125)):
            began = self.timer.now
            self.timer.now += seconds
            self.cost.spent(phase, began)
        self.cost.door = "render"
        self.timer.now += 1.0
        self.cost.series, self.cost.points = 3, 180

    def test_every_request_is_counted(self):
        self.spend()
        self.visits().done(b"/render?x", 200, 77, self.cost)
        self.assertEqual(
            dict(self.counts),
            {
                "http render 200 le 2.5": 1, "http render 200 us": 1_875_000, "http render series": 3,
                "http render points": 180,
            },
        )  # fmt: skip
        self.assertEqual(self.texts(), [])

    def test_buckets(self):
        visits = self.visits()
        for seconds in (0, 0.001, 0.0011, 10, 11):
            cost = Cost(self.timer)
            self.timer.now += seconds
            visits.done(b"/", 200, 0, cost)
        found = {what: amount for what, amount in self.counts.items() if " le " in what}
        self.assertEqual(sum(found.values()), 5)
        self.assertEqual(found["http other 200 le inf"], 1)

    def test_slow_ones_are_told(self):
        self.spend()
        visits = self.visits(slow_s=1.5)
        visits.done(b"/render?target=a.*", 200, 77, self.cost)
        visits.done(b"/quick", 200, 77, Cost(self.timer))
        expected = (
            "slow request: 200 77 bytes in 1875.0 ms (names 250.0, read 500.0, compute 1000.0, encode 125.0), "
            "3 series, 180 points: /render?target=a.*"
        )
        self.assertEqual(self.texts(), [expected])
        self.assertEqual([event["log_level"] for event in self.events if "asked" in event], [LogLevel.warn])

    def test_all_are_told_where_wanted(self):
        self.visits(log_all=True).done(b"/a\x1b[2J\xff" + b"x" * 5000, 400, 5, self.cost, kept=True)
        (text,) = self.texts()
        self.assertTrue(text.startswith("answered request: 400 5 bytes in 0.0 ms (names 0.0"), text)
        self.assertIn("given again: /a\\x1b[2J\ufffdxxx", text)
        self.assertLess(len(text), 1200)

    def test_nobody_counts(self):
        Visits().done(b"/", 200, 0, self.cost)
        self.assertEqual(self.texts(), [])


class DoorTests(SynchronousTestCase):
    def setUp(self):
        self.counts = Counter()
        visits = Visits(lambda what, amount: self.counts.update({what: amount}))
        self.site, self.clock = make(visits=visits)

    def statuses(self):
        return {what.split(" le ")[0] for what in self.counts if " le " in what}

    def test_doors_have_names(self):
        for path, more in (
            ("/render", {"target": "a.*", "format": "json", "from": "-3min"}), ("/metrics/find", {"query": "*"}),
            ("/metrics", {"query": "a"}), ("/metrics/expand", {"query": "*"}), ("/metrics/index.json", {}),
            ("/version", {}), ("/nosuch", {}), ("/render", {"target": "nosuch(a)", "format": "json"}),
        ):  # fmt: skip
            get(self.site, self.clock, path, **more)
        self.assertEqual(
            self.statuses(),
            {"http render 200", "http render 400", "http find 200", "http expand 200", "http index 200",
             "http other 200", "http other 404"},
        )  # fmt: skip
        self.assertEqual((self.counts["http render series"], self.counts["http render points"]), (2, 6))

    def test_files_that_cannot_be_read(self):
        root = self.mktemp()
        os.makedirs(os.path.join(root, "a"))
        os.mkfifo(os.path.join(root, "a", "x.wsp"))
        context = self.site.resource._context
        site = ApiSite(replace(context, store=WhisperStore(root, SchemaTable())), reactor=self.clock, cadent_path="/c/")
        for path in ("/render", "/c/metrics", "/c/render"):
            reply = get(site, self.clock, path, target="a.*", format="json", **{"from": "-3min"})
            self.assertEqual((reply.status, b"a.y" in reply.body), (200, True))
        self.assertEqual((self.counts["http render faults"], self.counts["http other faults"]), (1, 2))

    def test_an_answer_given_again_counts(self):
        for _ in range(3):
            get(self.site, self.clock, "/metrics/find", query="*")
        self.assertEqual(sum(amount for what, amount in self.counts.items() if "find 200 le" in what), 3)


class PrometheusTests(SynchronousTestCase):
    def test_histograms(self):
        telemetry = Telemetry()
        for what, amount in (
            ("render 200 le 0.001", 2), ("render 200 le 0.05", 3), ("render 200 le inf", 1),
            ("render 200 us", 2_500_000), ("render series", 7), ("render points", 70), ("find faults", 2),
        ):  # fmt: skip
            telemetry.account("http").count(what, amount)
        site, clock = make()
        site.resource._context.owner.reports["ledger"] = telemetry.ledger
        text = get(site, clock, "/metrics").body.decode()
        self.assertEqual(COUNTED, "http ")
        for line in (
            'cadtwist_http_request_seconds_bucket{door="render",le="0.001",status="200"} 2.0',
            'cadtwist_http_request_seconds_bucket{door="render",le="0.025",status="200"} 2.0',
            'cadtwist_http_request_seconds_bucket{door="render",le="0.05",status="200"} 5.0',
            'cadtwist_http_request_seconds_bucket{door="render",le="+Inf",status="200"} 6.0',
            'cadtwist_http_request_seconds_sum{door="render",status="200"} 2.5',
            'cadtwist_http_request_seconds_count{door="render",status="200"} 6.0',
            'cadtwist_http_series_total{door="render"} 7.0',
            'cadtwist_http_points_total{door="render"} 70.0',
            'cadtwist_http_faults_total{door="find"} 2.0',
        ):
            self.assertIn(line + "\n", text)
        self.assertNotIn('event="render', text)
