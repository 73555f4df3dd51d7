"""What istatd's own functional tests check, on daemons of ours."""

from __future__ import annotations

import json
import os
import shutil
import struct
from itertools import pairwise
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.model import CacheConfig, Config, SelfMetricsConfig, StorageConfig, TagsConfig, WalConfig
from cadtwist.errors import StorageError
from cadtwist.kernels.statformat import COLLATED
from cadtwist.services.build import Daemon
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.services.istat import IstatDaemon
from tests.opens import Opens
from tests.services.daemons import until
from tests.services.istatdaemons import FakeAgent, IstatCase, reactor

T = 1325394000
NOW = 1325395000


class ForwardTests(IstatCase):
    """agent_to_master, agent_passes_times, agent_master_standby, store_n_forward_to_master, blacklist."""

    def test_agent_to_master(self) -> Any:
        return ensureDeferred(self.agent_to_master())

    async def agent_to_master(self) -> None:
        master = self.start("master", fake_time=50)
        agent = self.start("agent", store=False, agent="localhost:1", fake_time=50)
        link = self.connect(master)
        link.dataReceived(b"#proto x 1 1\r\n#hostname web1\r\n#version 1\r\n")
        self.send(agent, "#beverly_hills 90210", "test 40 42", "x^a^b^c 40 7", "!event 40 1")
        self.carry(agent, link, master)
        await self.admin(master, "flush")
        self.assertEqual(self.sums(master, "test"), [42.0])
        self.assertEqual([self.sums(master, f"x.{part}") for part in "abc"], [[7.0]] * 3)
        told = await self.json(master, "/?a=*")
        self.assertEqual(told["count"], 1)
        (record,) = told["agents"]
        self.assertEqual(
            [record[key] for key in ("_online", "version", "proto", "hostname", "beverly_hills")],
            [True, "1", "x 1 1", "web1", "90210"],
        )

    def test_agent_passes_times(self) -> Any:
        return ensureDeferred(self.agent_passes_times())

    async def agent_passes_times(self) -> None:
        master = self.start("master", fake_time=50)
        middle = self.start("middle", agent="localhost:1", fake_time=50)
        agent = self.start("agent", store=False, agent="localhost:1", fake_time=50)
        first, second = self.connect(middle), self.connect(master)
        times = (-10, 1, 10, 20, 30, 40, 50)
        self.send(agent, *(f"t {time} {value}" for value, time in enumerate(times, 39)))
        self.carry(agent, first, middle)
        self.carry(middle, second, master)
        for daemon in (middle, master):
            await self.admin(daemon, "flush")
            self.assertEqual(self.sums(daemon, "t"), [42.0, 43.0, 44.0, 45.0])
        first.connectionLost()
        told = await self.json(middle, "/?a=*")
        self.assertEqual([record["_online"] for record in told["agents"]], [False])

    def test_agent_to_master_with_blacklist(self) -> Any:
        return ensureDeferred(self.blacklisted())

    async def blacklisted(self) -> None:
        path = os.path.join(self.folder, "blacklist")
        with open(path, "w", encoding="ascii") as file:
            file.write("Web1\n\n")
        master = self.start("master", blacklist_path=path)
        refused = self.send(master, "#hostname WEB1", f"a {T} 1")
        refused.dataReceived(b"a 1\n")
        await self.admin(master, "flush")
        transport: Any = refused.transport
        self.assertTrue(transport.disconnecting)
        self.assertEqual((await self.json(master, "/?q=*"))["matching_names"], [])
        (record,) = (await self.json(master, "/?a=*"))["agents"]
        self.assertEqual((record["blacklisted"], record["_online"], master.peers.refused), ("true", False, 1))
        with open(path, "w", encoding="ascii"):
            pass
        os.utime(path, (2_000_000_000, 2_000_000_000))
        master._read_blacklist(0)
        os.unlink(path)
        master._read_blacklist(0)
        self.send(master, "#hostname web1", f"a {T} 1")
        await self.admin(master, "flush")
        self.assertEqual(self.sums(master, "a"), [1.0])


class StoreTests(IstatCase):
    """counter_incrementing, import_old_data, star_counter_format, trailing_interval, parents, deletes."""

    def test_counter_incrementing(self) -> Any:
        return ensureDeferred(self.counter_incrementing())

    async def counter_incrementing(self) -> None:
        one = self.start()
        for time, value in ((0, 10), (1, 10), (2, 10), (60, 300), (300, 1000), (600, 1000), (900, 1000)):
            self.send(one, f"*tep {T + time} {value}")
        await self.admin(one, "flush")
        finest = self.sums(one, "tep")
        self.assertEqual([value for value in finest if value], [3.0, 30.0, 100.0, 100.0, 100.0])
        self.assertEqual(self.sums(one, "tep", "5m"), [33.0, 100.0, 100.0, 100.0])
        self.assertEqual(self.sums(one, "tep", "1h"), [333.0])

    def test_import_old_data(self) -> Any:
        return ensureDeferred(self.import_old_data())

    async def import_old_data(self) -> None:
        one = self.start()
        self.send(one, f"old {T} 1337", f"old {T - 12000} 1337", f"old {T - 1250000} 1337")
        await self.admin(one, "flush")
        self.assertEqual([len(self.sums(one, "old", file)) for file in ("10s", "5m", "1h")], [1, 2, 3])
        self.assertEqual(sum(self.sums(one, "old", "1h")), 4011.0)

    def test_star_counter_format(self) -> Any:
        return ensureDeferred(self.star_counter_format())

    async def star_counter_format(self) -> None:
        one = self.start()
        self.send(one, f"*tep^a^b {T} 1")
        await self.admin(one, "flush")
        for name in (b"tep.a", b"tep.b"):
            with one.store.reader(name) as reader:
                self.assertEqual(reader.headers()[0].flags, COLLATED)

    def test_trailing_interval(self) -> Any:
        return ensureDeferred(self.trailing_interval())

    async def trailing_interval(self) -> None:
        one = self.start(retention="10s:1h,1h:3h,1m:1h:ma-1h:0.9", fake_time=110000)
        for part in (
            ("a 100000 2", "a 100050 2"),
            ("a 103601 5", "a 107209 10"),
            ("a 107210 1", "a 107220 1", "a 107230 1", "a 107240 1"),
            ("a 107250 1", "a 107260 1", "a 107320 1"),
            ("a 107380 1", "a 107440 1", "a 107500 1", "a 107560 1"),
        ):
            self.send(one, *part)
            await self.admin(one, "flush")
        values = [round(value, 2) for value in self.sums(one, "a", "ma-1h")]
        self.assertEqual(values, [2.0, 2.0, 2.3, 3.17, 5.0, 1.0, 1.0, 1.0])

    def test_dont_recursively_create_counters(self) -> Any:
        return ensureDeferred(self.no_levels_above())

    async def no_levels_above(self) -> None:
        for _ in range(2):
            one = self.start(levels_above=False)
            self.send(one, f"a.b.c {T} 1")
            await self.stop(one)
            self.assertEqual(os.listdir(os.path.join(self.folder, "one", "a")), ["b"])
            self.assertEqual(len(os.listdir(os.path.join(self.folder, "one", "a", "b", "c"))), 3)

    def test_rollup_adds_up_levels_above(self) -> Any:
        return ensureDeferred(self.rollup())

    async def rollup(self) -> None:
        one = self.start(rollup=2)
        self.send(one, f"a.b.c {T} 1", f"a.b.d {T} 2", f"*e.f {T} 10")
        await self.admin(one, "flush")
        self.assertEqual([self.sums(one, name) for name in ("a.b.c", "a.b", "a")], [[1.0], [3.0], [3.0]])
        self.assertIn(1.0, self.sums(one, "e"))

    def test_delete_ctr(self) -> Any:
        return ensureDeferred(self.delete_ctr())

    async def delete_ctr(self) -> None:
        one = self.start()
        self.send(one, f"test.big {T} 1", f"test.sub.one {T} 1", f"test.keep {T} 1")
        self.assertEqual(await self.admin(one, "delete.ctr test.big,no.such"), ["test.big", "no.such", "ok"])
        self.assertEqual(await self.admin(one, "delete.pattern test.sub*"), ["test.sub*", "ok"])
        store = os.path.join(self.folder, "one")
        for name in ("test/big", "test/sub", "test/sub/one"):
            self.assertFalse(os.path.exists(os.path.join(store, name)))
            self.assertEqual(sorted(os.listdir(os.path.join(store + ".bak", name)))[:3], ["10s", "1h", "5m"])
        listed = [entry["name"] for entry in (await self.json(one, "/?q=test.*"))["matching_names"]]
        self.assertEqual(listed, ["test.keep"])
        self.send(one, f"test.big {T} 5")
        await self.admin(one, "flush")
        self.assertEqual(self.sums(one, "test.big"), [5.0])

    def test_counter_file_integrity(self) -> Any:
        return ensureDeferred(self.integrity())

    async def integrity(self) -> None:
        for name, allocation in (("full", "reserved"), ("sparse", "sparse")):
            one = self.start(name, allocation=allocation, fake_time=T + 3700)
            self.send(one, f"i {T} 10")
            await self.admin(one, "flush")
            path = os.path.join(self.folder, name, "i", "10s")
            before = os.stat(path)
            self.send(one, *(f"i {T + n * 180} 10" for n in range(21)))
            await self.admin(one, "flush")
            after = os.stat(path)
            self.assertEqual(self.sums(one, "i"), [20.0] + [10.0] * 20)
            self.assertEqual(after.st_size, before.st_size)
            self.assertEqual(after.st_blocks > before.st_blocks, allocation == "sparse")


class FileTests(IstatCase):
    """How files are opened."""

    def test_a_start_opens_no_file_twice(self) -> Any:
        return ensureDeferred(self.started())

    async def started(self) -> None:
        one = self.start()
        self.send(one, *(f"a.{number} {NOW} 1" for number in range(1200)))
        await self.stop(one)
        opens = Opens(one.store.root)
        self.addCleanup(opens.close)
        told: list[str] = []
        observer = lambda event: told.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        again = self.start()
        globalLogPublisher.removeObserver(observer)
        found = opens.told()
        self.assertEqual((len(found), max(found.values())), (1201, 1))  # of each counter the finest one
        self.assertEqual([text for text in told if text.startswith("Loaded")],
                         ["Loaded 1000 counters.", "Loaded 1201 counters."])  # fmt: skip
        self.assertEqual(len(again.tree), 1201)

    def test_few_are_kept_open(self) -> Any:
        return ensureDeferred(self.few())

    async def few(self) -> None:
        one = self.start(num_files=20)
        for value in (1, 2):
            self.send(one, *(f"a.{number} {NOW} {value}" for number in range(30)))
            await self.admin(one, "flush")
        self.assertLessEqual(one.store.counters()["open_files"], 20)
        self.assertEqual(self.sums(one, "a.29"), [3])


class AnswerTests(IstatCase):
    """counter_list, list_matching, recent buckets of occasional counters, reduction, freeze_time, settings."""

    def test_waiting_samples_are_answered_and_counted_once(self) -> Any:
        return ensureDeferred(self.waiting())

    async def waiting(self) -> None:
        one = self.start()
        for _ in range(3):
            self.send(one, f"a {T} 1")
            counts = []
            for _ in range(2):
                (bucket,) = (await self.json(one, f"/a?start={T}&end={T + 10}"))["buckets"]
                counts.append(bucket["data"]["count"])
            self.assertEqual(counts[0], counts[1])
        self.assertEqual(counts, [3, 3])
        await self.admin(one, "flush")
        (bucket,) = (await self.json(one, f"/a?start={T}&end={T + 10}"))["buckets"]
        self.assertEqual(bucket["data"]["count"], 3)

    def test_recent_buckets_returned_for_occasional_counters(self) -> Any:
        return ensureDeferred(self.occasional())

    async def occasional(self) -> None:
        one = self.start()
        self.send(one, f"*e {T} 10")
        await self.admin(one, "flush")
        one.clock.fake = NOW + 200
        buckets = (await self.json(one, f"/e?start={NOW + 100}&end={NOW + 130}"))["buckets"]
        self.assertEqual([(b["time"], b["data"]["avg"], b["data"]["count"]) for b in buckets],
                         [(NOW + 100 + n, 0, 1) for n in (0, 10, 20)])  # fmt: skip

    def test_reduction(self) -> Any:
        return ensureDeferred(self.reduction())

    async def reduction(self) -> None:
        one = self.start()
        self.send(one, *(f"*r {T + n} 100" for n in range(0, 200, 10)))
        await self.admin(one, "flush")
        buckets = (await self.json(one, f"/r?start={T}&end={T + 220}&samples=11"))["buckets"]
        self.assertEqual([bucket["data"]["count"] for bucket in buckets], [2] * 11)
        self.assertEqual([bucket["data"]["min"] for bucket in buckets], [10] * 10 + [0])
        coarse = (await self.json(one, f"/r?start={T - 5400}&end={T + 600}&samples=10"))["buckets"]
        self.assertEqual((coarse[-1]["data"]["count"], coarse[-1]["data"]["sum"]), (60, 200))

    def test_list_matching(self) -> Any:
        return ensureDeferred(self.listing())

    async def listing(self) -> None:
        one = self.start()
        self.send(one, f"tep.a {T} 1", f"tep.b.c {T} 1", f"*tep.e {T} 1")
        found = (await self.json(one, "/?q=tep.%3F"))["matching_names"]
        self.assertEqual(
            [(entry["name"], entry["is_leaf"], entry["type"]) for entry in found],
            [("tep.a", True, 0), ("tep.b", False, 2), ("tep.e", True, 1)],
        )

    def test_freeze_time_and_settings(self) -> Any:
        return ensureDeferred(self.frozen())

    async def frozen(self) -> None:
        one = self.start(fake_time=50000)
        self.assertIn("fakeTime.value=50000", await self.admin(one, "stats"))
        self.assertEqual(await self.admin(one, "faketime 60000"), ["ok"])
        self.assertEqual(one.answers.now(), 60000)
        self.assertEqual((await self.post(one, "/?s=global", {"a": 1, "b": "x"})).status, 200)
        await self.admin(one, "flush")
        path = os.path.join(self.folder, "one.settings", "global.set")
        with open(path, "a", encoding="ascii") as file:
            file.write("hand=made\n")
        self.assertEqual(await self.json(one, "/?s=global"), {"a": "1", "b": "x", "hand": "made"})


class GraphiteTests(IstatCase):
    """Counters as series, at the same door."""

    def test_find_and_render(self) -> Any:
        return ensureDeferred(self.find_and_render())

    async def find_and_render(self) -> None:
        one = self.start()
        self.send(one, f"a.b {NOW - 20} 4", f"a.b {NOW - 19} 8", f"*e {NOW - 20} 30", f"a.c {NOW - 10} 1 1 1 1 1")
        reply = await self.ask(one, "GET", "/metrics/find?query=a.*")
        self.assertEqual([(node["text"], node["leaf"]) for node in json.loads(reply.body)], [("b", 0), ("c", 0)])
        reply = await self.ask(one, "GET", "/metrics?query=a.b.*&format=treejson")
        texts = [node["text"] for node in json.loads(reply.body)]
        self.assertEqual(texts, ["avg", "count", "max", "min", "sdev", "sum"])
        expected = {"avg": 6, "count": 2, "max": 8, "min": 4, "sum": 12}
        for written in (False, True):
            if written:
                await self.admin(one, "flush")
            reply = await self.ask(one, "GET", f"/render?target=a.b.*&from={NOW - 41}&until={NOW}&format=json")
            series = {found["target"]: {t: v for v, t in found["datapoints"]} for found in json.loads(reply.body)}
            told = {name.rpartition(".")[2]: values[NOW - 20] for name, values in series.items()}
            self.assertAlmostEqual(told.pop("sdev"), 8**0.5, 5)
            self.assertEqual(told, expected)
            known = {time: value for time, value in series["a.b.avg"].items() if value is not None}
            self.assertEqual(known, {NOW - 20: 6})
            self.assertEqual(sorted(series["a.b.avg"]), list(range(NOW - 40, NOW + 1, 10)))
        reply = await self.ask(one, "GET", f"/render?target=scale(e.sum,10)&from={NOW - 31}&until={NOW}&format=json")
        (found,) = json.loads(reply.body)
        self.assertIn([30.0, NOW - 20], found["datapoints"])

    def test_a_coarser_file_and_nothing(self) -> Any:
        return ensureDeferred(self.coarser())

    async def coarser(self) -> None:
        one = self.start()
        for ago in (5000, 4990, 4980):
            self.send(one, f"x {NOW - ago} {ago}")
        target = f"/render?target=x.count&target=none.avg&from={NOW - 5400}&until={NOW - 4800}&format=json"
        (found,) = json.loads((await self.ask(one, "GET", target)).body)
        self.assertEqual(sum(value or 0 for value, _ in found["datapoints"]), 3)
        self.assertEqual({later[1] - sooner[1] for sooner, later in pairwise(found["datapoints"])}, {300})
        target = f"/render?target=x.count&from={NOW - 60}&until={NOW}&format=json"
        (found,) = json.loads((await self.ask(one, "GET", target)).body)
        self.assertEqual({value for value, _ in found["datapoints"]}, {None})

    def test_fixed_paths_win(self) -> Any:
        return ensureDeferred(self.fixed_paths())

    async def fixed_paths(self) -> None:
        one = self.start()
        self.send(one, f"metrics {NOW} 7", f"render {NOW} 8", f"other {NOW} 9")
        body = json.dumps({"start": NOW, "stop": NOW + 10, "keys": ["metrics", "render"]}).encode()
        found = json.loads((await self.ask(one, "POST", "/*", body)).body)
        self.assertEqual([found[key]["data"][0]["sum"] for key in ("metrics", "render")], [7, 8])
        self.assertIn(b"cadtwist_points_received", (await self.ask(one, "GET", "/metrics")).body)
        self.assertEqual((await self.ask(one, "GET", "/metrics?target=x")).status, 501)
        self.assertEqual(json.loads((await self.ask(one, "GET", "/metrics?query=oth*")).body)[0]["text"], "other")
        (found,) = json.loads((await self.ask(one, "GET", "/render?target=render.sum&format=json")).body)
        self.assertEqual(found["target"], "render.sum")
        found = json.loads((await self.ask(one, "GET", f"/other?start={NOW}")).body)
        self.assertEqual(found["buckets"][0]["data"]["sum"], 9)
        accounts = json.loads((await self.ask(one, "GET", "/ledger")).body)["accounts"]
        self.assertIn("istat counters", [account["name"] for account in accounts])
        self.assertIn(b"<svg", (await self.ask(one, "GET", "/")).body)
        self.assertEqual((await self.ask(one, "GET", "/healthz")).body, b"ok\n")

    def test_events_are_kept(self) -> Any:
        return ensureDeferred(self.events())

    async def events(self) -> None:
        one = self.start()
        body = json.dumps({"what": "deploy", "tags": ["web"], "when": NOW}).encode()
        self.assertEqual((await self.ask(one, "POST", "/events", body)).status, 200)
        await self.stop(one)
        again = self.start()
        await until(lambda: len(again.api.owner.catalog("events", [0, NOW + 1, [], "all"])))
        found = json.loads((await self.ask(again, "GET", f"/events/get_data?from={NOW - 10}&until={NOW + 10}")).body)
        self.assertEqual([event["what"] for event in found], ["deploy"])

    def test_a_deleted_counter_is_found_no_longer(self) -> Any:
        return ensureDeferred(self.deleted())

    async def deleted(self) -> None:
        one = self.start()
        self.send(one, f"a.b {NOW} 1")
        await self.admin(one, "flush")
        await self.stop(one)
        again = self.start()
        self.assertEqual(json.loads((await self.ask(again, "GET", "/metrics/index.json")).body)[0], "a.b.avg")
        await self.admin(again, "delete.ctr a.b")
        self.assertEqual(json.loads((await self.ask(again, "GET", "/metrics/find?query=*")).body), [])
        self.assertEqual(again.account("counters").counters["closed"], 1)


class TellingTests(IstatCase):
    """What a daemon says of itself, and to Prometheus."""

    def test_own_counters(self) -> Any:
        return ensureDeferred(self.own_counters())

    async def own_counters(self) -> None:
        one = self.start(agent="localhost:1")
        self.send(one, "a 1", "bad line with words", "@x", f"b {NOW + 100} 1")
        await self.admin(one, "flush")
        await self.ask(one, "GET", "/nothing")
        await self.ask(one, "GET", "/?s=x&sk=y")
        told = dict(line.split(" ") for line in one.own.changes().decode().splitlines())
        for name, amount in (
            ("*istatd.counter.enqueue", "2"),
            ("*istatd.counter.from_future", "1"),
            ("*istatd.counter.created", "1"),
            ("*istatd.statserver.connects", "1"),
            ("*istatd.statserver.commands.bad", "1"),
            ("*istatd.statserver.commands.reserved", "1"),
            ("*istatd.http.requests", "2"),
            ("*istatd.http.errors.http", "2"),
            ("*istatd.settings.match", "1"),
            ("*istatd.pagecache.misses.time_10s", "1"),
        ):
            self.assertEqual(told.get(name), amount, name)
        self.assertEqual(one.own.changes(), b"")
        self.assertIn(b"istatd.app.memory.vmrss ", one.own.state())
        self.assertIn(b"istatd.mm.opens 3", one.own.files())
        await self.stop(one)

    def test_own_counters_are_kept_and_not_forwarded(self) -> Any:
        return ensureDeferred(self.own_counters_kept())

    async def own_counters_kept(self) -> None:
        one = self.start(self_counters=True, agent="localhost:1")
        self.send(one, "a 1")
        await until(lambda: "istatd.counter.enqueue" in one.tree)
        agent: Any = one.agents[0]
        one.forward()
        self.assertIn(b"a ", agent.sent)
        self.assertNotIn(b"istatd.", agent.sent)
        one.turn.end()
        self.assertEqual([a.name for a in one.telemetry.accounts.values() if a.balance()], [])

    def test_prometheus(self) -> Any:
        return ensureDeferred(self.prometheus())

    async def prometheus(self) -> None:
        with open(os.path.join(self.folder, "tags"), "w", encoding="utf-8") as file:
            file.write("dc\n")
        one = self.start(prometheus_port=1, tagnames_path=os.path.join(self.folder, "tags"), open_doors=False)
        assert one.exposition is not None
        self.send(one, f"cpu^dc.x^host.h {NOW} 2", "*hits^host.h 1")
        self.send(one, "*hits^host.h 2")
        door: Any = HttpDoor(one.exposition.site, one.reactor)
        expected = (
            f'# TYPE cpu gauge\ncpu{{dc="x",host="h"}} 2 {NOW}000\n'
            f'# TYPE hits counter\nhits{{host="h",counter="1"}} 3 {NOW}000\n'
        ).encode()
        for method, path, status, body in (
            ("GET", "/metrics", 200, expected),
            ("GET", "/other", 400, b'{"error":"Malformed url"}\n'),
            ("POST", "/metrics", 405, b'{"error":"Bad method"}\n'),
        ):
            reply = await self.ask(one, method, path, site=door)
            self.assertEqual((reply.status, reply.body), (status, body))
        self.assertTrue((await self.ask(one, "GET", "/metrics")).body.endswith(expected))
        self.assertEqual([a.name for a in one.telemetry.accounts.values() if a.balance()], [])


class OutageTests(IstatCase):
    """The daemon that gets what is forwarded is away, for an hour, and we are restarted meanwhile."""

    def test_everything_arrives(self) -> Any:
        return ensureDeferred(self.everything())

    async def everything(self) -> None:
        clock: Any = MemoryReactorClock()
        clock.advance(NOW)
        config = IstatConfig(stat_port=0, http_port=0, settings=self.folder, agent="127.0.0.1:1")
        number = 0
        for _life in range(2):
            one = IstatDaemon(clock, config)
            one.service.startService()
            connection = self.connect(one)
            for _ in range(180):
                lines = [f"a.b {int(clock.seconds())} {number}", f"*e {int(clock.seconds())} 1", f"c^d^e {number}"]
                connection.dataReceived("".join(f"{line}\n" for line in lines).encode())
                number += 1
                clock.advance(10)
                self.refuse_all(clock)
            connection.connectionLost()
            stopped = one.service.stopService()
            while not stopped.called:
                clock.advance(1)
                self.refuse_all(clock)
            self.assertEqual([a.snapshot() for a in one.telemetry.accounts.values() if a.balance()], [])
        self.assertEqual(clock.seconds() // 3600 - NOW // 3600, 1)
        heard: list[bytes] = []
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: Hearing(heard)), interface="127.0.0.1")
        os.rename(os.path.join(self.folder, "istatd.spool", "127.0.0.1_1"),
                  os.path.join(self.folder, "istatd.spool", f"127.0.0.1_{port.getHost().port}"))  # fmt: skip
        last = IstatDaemon(reactor, replace(config, agent=f"127.0.0.1:{port.getHost().port}"))
        last.service.startService()
        await until(lambda: b"".join(heard).count(b"a.b ") >= number)
        await last.service.stopService()
        await port.stopListening()
        lines = [line for line in b"".join(heard).decode().splitlines() if not line.startswith("#")]
        for name, values in (("a.b", range(number)), ("c.d", range(number)), ("*e", [1] * number)):
            told = [float(line.split()[2]) for line in dict.fromkeys(lines) if line.startswith(f"{name} ")]
            self.assertEqual(told, [float(value) for value in values], name)

    def refuse_all(self, clock: Any) -> None:
        """Let every attempt to connect fail."""
        attempts, clock.tcpClients[:] = list(clock.tcpClients), []
        for _host, _port, factory, *_ in attempts:
            factory.clientConnectionFailed(None, Failure(ConnectError()))


class ClockStepTests(IstatCase):
    """Statistics of the machine never go back in time, whatever the clock does."""

    def test_steps(self) -> Any:
        return ensureDeferred(self.steps())

    async def steps(self) -> None:
        clock: Any = MemoryReactorClock()
        clock.advance(NOW)
        config = IstatConfig(stat_port=0, http_port=0, settings=self.folder, agent="h:1", local_stats="host.x")
        agent: Any = FakeAgent()
        one = IstatDaemon(clock, config, lambda _daemon: agent)
        one.service.startService()
        told = []
        for step in (0, -7, 0, 3600, 0, -20, 0, -1, 0):
            clock.rightNow += step
            for _ in range(12):
                clock.advance(5)
            one.forward()
            lines, agent.sent = agent.sent.decode().splitlines(), b""
            told += [int(line.split()[1]) for line in lines if line.startswith("localstat.mem.total.host.x ")]
        self.assertGreater(len(told), 40)
        self.assertEqual(told, sorted(set(told)))
        await one.service.stopService()


class Hearing(Protocol):
    """Keeps what it hears."""

    def __init__(self, heard: list[bytes]) -> None:
        self.heard = heard

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)


class NameTests(IstatCase):
    """Names that nothing came for go; their numbers are given again."""

    def test_sweep(self) -> Any:
        return ensureDeferred(self.swept())

    async def swept(self) -> None:
        one = self.start(rollup=1, agent="localhost:1")
        self.send(one, f"A.x^b^c {NOW} 1", f"*e {NOW} 10")
        await self.admin(one, "flush")
        self.assertGreater(len(one.table), 6)
        for _ in range(4):  # names of lines go before those of counters
            one.sweep(NOW + 7200)
            one.turn.end()
        self.assertEqual(one.table.names(one.table.live()), [b"e"])  # its window is open
        self.assertEqual(one.space.keys.resting, 0)
        one.clock.fake = NOW + 100
        self.send(one, f"other.x {NOW} 5", f"*a.x.b {NOW} 2", f"*e {NOW + 100} 20")
        await self.admin(one, "flush")
        self.assertEqual(self.sums(one, "a.x.b"), [3])
        self.assertEqual(self.sums(one, "other.x"), [5])
        self.assertEqual([value for value in self.sums(one, "e") if value], [1, 2])

    def test_what_waits_is_not_swept(self) -> None:
        one = self.start()
        self.send(one, f"a {NOW} 1", f"*e {NOW} 1")
        before = len(one.table)
        one.sweep(NOW + 7200)
        one.turn.end()
        self.assertEqual(len(one.table) + 1, before)  # only the name `*e`, whose counter stays


class CrashTests(IstatCase):
    """What the log keeps when a daemon dies."""

    def copy_of(self, name: str) -> str:
        """Return a store as it is on the disk now, with its log: what a crash would leave."""
        for suffix in ("", ".log"):
            source = os.path.join(self.folder, name + suffix)
            if os.path.exists(source):
                shutil.copytree(source, os.path.join(self.folder, "crashed" + suffix))
        return "crashed"

    def test_samples_that_waited_are_there_again(self) -> Any:
        return ensureDeferred(self.recovered())

    async def recovered(self) -> None:
        one = self.start(retention="10s:1h,1m:1h:ma-1h:0.9")
        self.send(one, f"a {T} 1", f"*e {T} 10", f"a {T} 0.25")
        await self.admin(one, "flush")
        self.send(one, f"a {T} 2", f"*e {NOW} 30", f"new.x {T} 5")
        crashed = self.start(self.copy_of("one"), retention="10s:1h,1m:1h:ma-1h:0.9")
        for daemon in (one, crashed):
            await self.stop(daemon)
        for name in ("a", "e", "new.x"):
            for file in ("10s", "ma-1h"):
                self.assertEqual(self.sums(one, name, file), self.sums(crashed, name, file), (name, file))
        self.assertEqual(self.sums(crashed, "a"), [3.25])
        self.assertEqual(os.listdir(os.path.join(self.folder, "crashed.log")), ["lock"])

    def test_a_crash_within_a_write_is_mended(self) -> Any:
        return ensureDeferred(self.mended())

    async def mended(self) -> None:
        one = self.start()
        self.send(one, f"a {T} 1")
        await self.admin(one, "flush")
        self.send(one, f"a {T} 2", f"a {T + 10} 3")
        await self.admin(one, "flush")
        crashed_name = self.copy_of("one")
        path = os.path.join(self.folder, crashed_name, "a", "10s")
        with open(path, "r+b") as file:  # as if the second write had not reached the file whole
            file.seek(8192)
            file.write(struct.pack("<qdffif", T, 1.0, 1.0, 1.0, 1, 1.0))
        crashed = self.start(crashed_name)
        await self.admin(crashed, "flush")
        self.assertEqual(self.sums(crashed, "a"), [3.0, 3.0])

    def test_one_log_is_for_one_daemon(self) -> Any:
        self.start()
        self.assertRaises(StorageError, self.start)

    def test_everything_balances(self) -> Any:
        return ensureDeferred(self.balanced())

    async def balanced(self) -> None:
        one = self.start(agent="localhost:1")
        self.send(one, *(f"m{n % 50}^a^b {T + n} {n}" for n in range(2000)), f"f {NOW + 100} 1", "^ 1", "bad")
        one.forward()
        await self.admin(one, "flush")
        accounts = [a.snapshot() for a in one.telemetry.accounts.values() if a.balance()]
        self.assertEqual(json.loads(json.dumps(accounts)), [])


class PartOfAllTests(IstatCase):
    """Counters beside metrics, in one process."""

    def test_counters_beside_metrics(self) -> Any:
        config = IstatConfig(
            stat_port=0, http_port=0, store=os.path.join(self.folder, "s"), settings=self.folder, allocation="sparse"
        )
        whole = Config(
            program="both", cache=CacheConfig(), wal=WalConfig(enabled=False), storage=StorageConfig(kind="memory"),
            self_metrics=SelfMetricsConfig(interval_s=0), tags=TagsConfig(enabled=False), istat=config,
        )  # fmt: skip

        async def run() -> None:
            daemon = Daemon(reactor, whole)
            part = daemon.istat
            assert part is not None
            daemon.service.startService()
            connection = self.send(part, "a.b 42", "*c 1")
            self.assertEqual(daemon.status()["counters"], 3)
            daemon.change(replace(whole, istat=replace(config, compress=False, log_level=3, debug=("http",))))
            self.assertFalse(part.http.compress)
            self.assertEqual((part.orders.log_levels[0], part.orders.debug["http"]), (3, True))
            connection.connectionLost()
            await daemon.service.stopService()
            self.assertEqual(self.sums(part, "a.b"), [42.0])
            self.assertEqual(daemon.status()["unbalanced"], {})
            self.assertIn("istat lines", daemon.telemetry.accounts)

        return ensureDeferred(run())
