"""`cadtwist explain` and `cadtwist check --store`."""

from __future__ import annotations

import contextlib
import io
import json
import os

import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli import explain, storecheck


class _Site(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = os.path.join(self.root, "storage", "whisper")
        os.makedirs(os.path.join(self.root, "conf"))
        self.write("carbon.conf", "[cache]\nUSE_WHITELIST = True\n")
        self.write("storage-schemas.conf", "[fast]\npattern = ^fast\\.\nretentions = 10s:1h,60s:1d\n")
        sums = "[sums]\npattern = \\.count$\nxFilesFactor = 0\naggregationMethod = sum\n"
        self.write("storage-aggregation.conf", sums)
        self.write("blacklist.conf", "secret\n")
        self.environ = {"GRAPHITE_ROOT": self.root}

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.root, "conf", name), "w", encoding="utf-8") as file:
            file.write(text)

    def file(self, path: str, archives: list[tuple[int, int]]) -> str:
        full = os.path.join(self.files, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        whisper.create(full, archives)
        return full


class ExplainTests(_Site):
    def steps(self, name: str) -> dict[str, str]:
        stdout = io.StringIO()
        self.assertEqual(explain.run(["--json", name], stdout, self.environ), 0)
        return {step["station"]: step["decided"] for step in json.loads(stdout.getvalue())[name]}

    def test_a_metric_that_passes(self) -> None:
        path = os.path.join(self.files, "fast", "a", "count.wsp")
        expected = {
            "blacklist": "passes",
            "tags": "passes",
            "schema": "[fast] 10s:1h,60s:1d",
            "aggregation": "[sums] sum, xFilesFactor 0",
            "file": f"{path} (does not exist yet)",
            "owner": "carbon-cache, instance a",
        }
        self.assertEqual(self.steps("fast.a.count"), expected)

    def test_a_metric_that_is_dropped(self) -> None:
        self.assertEqual(self.steps("my.secret.x"), {"blacklist": "dropped (blacklist)"})

    def test_existing_files(self) -> None:
        path = self.file("fast/x.wsp", [(10, 360), (60, 1440)])
        self.assertEqual(self.steps("fast.x")["file"], f"{path} (exists)")
        path = self.file("fast/y.wsp", [(60, 1440)])
        self.assertEqual(self.steps("fast.y")["file"], f"{path} (exists, but keeps 60s:1d)")
        with open(path, "wb") as file:
            file.write(b"rubbish")
        self.assertIn("cannot be used", self.steps("fast.y")["file"])

    def test_tags_are_brought_into_order(self) -> None:
        self.assertEqual(self.steps("fast;b=2;a=1")["tags"], "becomes fast;a=1;b=2")

    def test_counters(self) -> None:
        store = os.path.join(self.root, "counters")
        self.write("istatd.cfg", f"--store {store}\n--agent h:1\n--rollup 1\n--retention 10s:1h,5m:2h\n")
        os.makedirs(os.path.join(store, "a", "x"))
        stdout = io.StringIO()
        argv = ["-c", os.path.join(self.root, "conf", "istatd.cfg"), "--json", "A^x^..."]
        self.assertEqual(explain.run(argv, stdout, self.environ), 0)
        steps = [(step["station"], step["metric"], step["decided"]) for step in json.loads(stdout.getvalue())[argv[-1]]]
        self.assertEqual(
            steps,
            [
                ("counters", "A^x^...", "A.x, A...."),
                ("sent to", "A.x", "h:1"),
                ("folder", "A.x", f"{store}/a/x: 10s, 5m (exists)"),
                ("folder", "A", f"{store}/a: 10s, 5m (exists)"),
                ("sent to", "A....", "h:1"),
                ("folder", "A....", f"{store}/a: 10s, 5m (exists)"),
                ("folder", "A...", f"{store}/a: 10s, 5m (exists)"),
            ],
        )

    def test_text(self) -> None:
        stdout = io.StringIO()
        explain.run(["fast;b=2;a=1"], stdout, self.environ)
        lines = stdout.getvalue().splitlines()
        self.assertEqual(lines[0], "fast;b=2;a=1")
        self.assertIn("  schema     fast;a=1;b=2: [default] 60s:7d", lines)

    def test_faulty_configuration(self) -> None:
        self.write("carbon.conf", "[cache]\nLINE_RECEIVER_PORT = many\n")
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            self.assertEqual(explain.run(["a"], io.StringIO(), self.environ), 2)
        self.assertIn("LINE_RECEIVER_PORT", stderr.getvalue())


class _Text(SynchronousTestCase):
    """Explains by the native TOML of `TEXT`."""

    TEXT = ""

    def steps(self, name: str) -> list[tuple[str, str, str]]:
        path = f"{self.mktemp()}.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.TEXT)
        stdout = io.StringIO()
        self.assertEqual(explain.run(["-c", path, "--json", name], stdout, {}), 0)
        return [tuple(step.values()) for step in json.loads(stdout.getvalue())[name]]


class RelayTests(_Text):
    """Filters, groups, routes and destinations."""

    """Relays: filters, groups, routes and destinations."""

    TEXT = """
[[listeners]]
protocol = "line"
port = 2003

[stages]
blacklist = ["secret"]
rewrite = [{pattern = "^old", replacement = "new"}]

[[relays]]
name = "front"
[[relays.filters]]
kind = "prefix"
pattern = "bad."
action = "reject"
[[relays.filters]]
kind = "substring"
pattern = "away"
action = "redirect"
relay = "other"
[[relays.groups]]
method = "carbon"
members = ["a", "b"]
[[relays.groups]]
method = "constant"
members = ["a"]
input_filter = "^new"

[[relays]]
name = "other"
[[relays.groups]]
method = "constant"
members = ["b"]

[[destinations]]
name = "a"
host = "10.0.0.1"
port = 2004
[[destinations]]
name = "b"
host = "10.0.0.2"
port = 2004
"""

    def test_filters_groups_and_destinations(self) -> None:
        told = self.steps("old.x")
        self.assertEqual([step[0] for step in told[:3]], ["blacklist", "tags", "rewrite"])
        self.assertEqual(told[3], ("relay front", "new.x", "no filter: goes to front"))
        first, sent, second, also = told[4:]
        self.assertEqual((first[:2], sent[:2]), (("group front.0", "new.x"), ("sent to", "new.x")))
        self.assertIn("carbon_ch position", first[2])
        self.assertIn(sent[2], ("tcp://10.0.0.1:2004", "tcp://10.0.0.2:2004"))
        self.assertEqual(second, ("group front.1", "new.x", "all: a"))
        self.assertEqual(also, ("sent to", "new.x", "tcp://10.0.0.1:2004"))

    def test_what_a_group_refuses(self) -> None:
        self.assertEqual(self.steps("some.x")[-1], ("group front.1", "some.x", "dropped (filtered_lines)"))

    def test_rejected_redirected_and_dropped(self) -> None:
        self.assertEqual(self.steps("bad.x")[-1], ("relay front", "bad.x", "prefix bad.: rejected"))
        told = self.steps("go.away")
        self.assertEqual(told[-3], ("relay front", "go.away", "substring away: goes to other"))
        self.assertEqual(told[-1], ("sent to", "go.away", "tcp://10.0.0.2:2004"))
        self.assertEqual(self.steps("my.secret"), [("blacklist", "my.secret", "dropped (blacklist)")])


class AccumulatorTests(_Text):
    """What is added up, sent on, and written."""

    TEXT = """
[[listeners]]
protocol = "line"
port = 8125
to = ["stats"]
[[listeners]]
protocol = "line"
port = 2003
to = ["bins"]

[[relays]]
name = "stats"
lines = {format = "statsd"}
[[relays.filters]]
kind = "prefix"
pattern = "bad."
action = "reject"
[[relays]]
name = "bins"
[[relays]]
name = "out"
[[relays.filters]]
kind = "substring"
pattern = "stats_counts"
action = "reject"
[[relays.groups]]
method = "constant"
members = ["a"]

[[accumulators]]
name = "sums"
relay = "stats"
backend = "out"
flush_s = 10
options = [["percentThreshold", "0.5"]]
[accumulators.writer]
metrics = {driver = "file", dsn = "/x/bins"}
indexer = {driver = "noop"}
[[accumulators]]
name = "g"
relay = "bins"
input_format = "graphite"
bins = [{resolution_s = 10, ttl_s = 3600}, {resolution_s = 60, ttl_s = 7200}]
[accumulators.writer]
metrics = {driver = "whisper", dsn = "/x/whisper"}
indexer = {driver = "noop"}

[[destinations]]
name = "a"
host = "10.0.0.1"
port = 2004
"""

    def test_the_way_of_a_series(self) -> None:
        self.assertEqual(self.steps("my.c|c"), [
            ("tags", "my.c|c", "passes"),
            ("relay stats", "my.c", "no filter: goes to stats"),
            ("accumulator sums", "my.c", "added up every 10 s as statsd"),
            ("accumulator sums", "my.c", "counter: stats.counters.my.c, stats_counts.my.c"),
            ("relay out", "stats.counters.my.c", "no filter: goes to out"),
            ("group out", "stats.counters.my.c", "all: a"),
            ("sent to", "stats.counters.my.c", "tcp://10.0.0.1:2004"),
            ("relay out", "stats_counts.my.c", "substring stats_counts: rejected"),
            ("lines", "my.c", "/x/bins_5s"),
            ("accumulator g", "my.c|c", "added up every 5 s as graphite"),
            ("schema", "my.c|c", "[times] 10s:1h,60s:2h"),
            ("aggregation", "my.c|c", "[average] average, xFilesFactor 0.3"),
            ("file", "my.c|c", "/x/whisper/my/c|c.wsp (does not exist yet)"),
            ("owner", "my.c|c", "cadtwist, instance a"),
        ])  # fmt: skip

    def test_what_a_key_may_become(self) -> None:
        told = [step[2] for step in self.steps("t") if step[0] == "accumulator sums"]
        self.assertEqual(told[1:3], ["counter: stats.counters.t, stats_counts.t", "gauge: stats.gauges.t"])
        self.assertTrue(told[3].startswith("timer: stats.timers.t.count_50, stats.timers.t.mean_50, "))
        self.assertEqual(told[-1], "goes to out; add |c, |g, |ms or |s to the name to see how")

    def test_what_is_rejected(self) -> None:
        self.assertIn(("relay stats", "bad.x", "prefix bad.: rejected"), self.steps("bad.x"))


class CeresTests(_Site):
    """The same where `DATABASE = ceres`."""

    def setUp(self) -> None:
        super().setUp()
        self.write("carbon.conf", "[cache]\nDATABASE = ceres\n")

    def node(self, name: str, text: str) -> str:
        folder = os.path.join(self.files, name.replace(".", "/"))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, ".ceres-node"), "w", encoding="utf-8") as file:
            file.write(text)
        return folder

    def told(self, name: str) -> str:
        stdout = io.StringIO()
        self.assertEqual(explain.run(["--json", name], stdout, self.environ), 0)
        return {step["station"]: step["decided"] for step in json.loads(stdout.getvalue())[name]}["file"]

    def test_explained(self) -> None:
        path = os.path.join(self.files, "fast", "x")
        self.assertEqual(self.told("fast.x"), f"{path} (does not exist yet)")
        self.node("fast.x", '{"timeStep": 10, "retentions": [[10, 360], [60, 1440]]}')
        self.assertEqual(self.told("fast.x"), f"{path} (exists)")
        self.node("fast.x", '{"timeStep": 10, "retentions": [[10, 360]]}')
        self.assertEqual(self.told("fast.x"), f"{path} (exists, but keeps 10s:1h)")
        self.node("fast.x", "{}")
        self.assertIn(f"{path} (cannot be used: timeStep is missing", self.told("fast.x"))

    def test_checked(self) -> None:
        good = self.node("fast.x", '{"timeStep": 10, "retentions": [[10, 360], [60, 1440]]}')
        other = self.node("y", '{"timeStep": 30}')
        broken = self.node("z", "{")
        self.file("w.wsp", [(1, 60)])
        stdout = io.StringIO()
        self.assertEqual(storecheck.run(["--store"], stdout, self.environ), 2)
        text = stdout.getvalue()
        self.assertNotIn(good, text)
        self.assertNotIn("w.wsp", text)
        self.assertIn(f"{other}: keeps 30s, schema [default] says 60s:7d", text)
        self.assertIn(f"{broken}: cannot be used: no JSON", text)


class StoreCheckTests(_Site):
    def check(self) -> tuple[int, str]:
        stdout = io.StringIO()
        status = storecheck.run(["--store"], stdout, self.environ)
        return status, stdout.getvalue()

    def test_files_like_their_schema(self) -> None:
        self.file("fast/x.wsp", [(10, 360), (60, 1440)])
        self.file("other.wsp", [(60, 10080)])
        status, text = self.check()
        self.assertEqual(status, 0, text)

    def test_files_unlike_their_schema(self) -> None:
        path = self.file("fast/x.wsp", [(60, 1440)])
        status, text = self.check()
        self.assertEqual(status, 2)
        self.assertIn(f"{path}: keeps 60s:1d, schema [fast] says 10s:1h,60s:1d", text)

    def test_damaged_files(self) -> None:
        path = self.file("fast/x.wsp", [(60, 1440)])
        os.truncate(path, 100)
        status, text = self.check()
        self.assertEqual(status, 2)
        self.assertIn(f"{path}: cannot be used", text)
