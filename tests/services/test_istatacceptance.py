"""istatd's functional tests, row by row: where each of them is a test of ours, and those that stand nowhere else."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.istatadmin import AdminFactory
from tests.services.istatdaemons import IstatCase

T = 1325394000
NOW = 1325395000

_ISTAT = "tests.services.test_istat"
_HERE = "tests.services.test_istatacceptance"
ROWS = {
    "agent_to_master": f"{_ISTAT}.ForwardTests.test_agent_to_master",
    "agent_passes_times": f"{_ISTAT}.ForwardTests.test_agent_passes_times",
    "agent_master_standby": f"{_HERE}.ForwardRowTests.test_agent_master_standby",
    "store_n_forward_to_master": f"{_HERE}.ForwardRowTests.test_store_n_forward_to_master",
    "agent_to_master_with_blacklist": f"{_ISTAT}.ForwardTests.test_agent_to_master_with_blacklist",
    "agent_prometheus": f"{_ISTAT}.TellingTests.test_prometheus",
    "counter_file_integrity": f"{_ISTAT}.StoreTests.test_counter_file_integrity",
    "counter_incrementing": f"{_ISTAT}.StoreTests.test_counter_incrementing",
    "counter_list": f"{_HERE}.AnswerRowTests.test_counter_list",
    "gzip_responses": "tests.web.test_istatsite.IstatSiteTests.test_compresses_as_the_client_likes",
    "zlib_responses": "tests.web.test_istatsite.IstatSiteTests.test_compresses_as_the_client_likes",
    "delete_ctr": f"{_ISTAT}.StoreTests.test_delete_ctr",
    "dont_recursively_create_counters": f"{_ISTAT}.StoreTests.test_dont_recursively_create_counters",
    "eager_connection_leak": f"{_HERE}.AnswerRowTests.test_eager_connection_leak",
    "freeze_time": f"{_ISTAT}.AnswerTests.test_freeze_time_and_settings",
    "import_old_data": f"{_ISTAT}.StoreTests.test_import_old_data",
    "json_interface": "tests.web.test_istat.RecordedTests.test_answers_as_recorded",
    "list_matching": f"{_ISTAT}.AnswerTests.test_list_matching",
    "listen_address": "tests.system.test_istat.CounterDoorTests.test_listen_address",
    "memory_counters": f"{_HERE}.AnswerRowTests.test_memory_counters",
    "nums2file": "tests.cli.test_statfile.StatFileTests.test_nums_makes_and_fills_a_file",
    "recent_buckets_returned_for_occasional_counters":
        f"{_ISTAT}.AnswerTests.test_recent_buckets_returned_for_occasional_counters",
    "reduction": f"{_ISTAT}.AnswerTests.test_reduction",
    "replication": "tests.system.test_istat_replication.ReplicationTests.test_an_empty_store",
    "star_counter_format": f"{_ISTAT}.StoreTests.test_star_counter_format",
    "trailing_interval": f"{_ISTAT}.StoreTests.test_trailing_interval",
    "test_transplant": "tests.cli.test_statfile.StatFileTests.test_merge_fills_what_is_empty",
}  # fmt: skip
"""Every row of istatd's ftest folder."""


class TableTests(SynchronousTestCase):
    def test_every_row_has_its_test(self) -> None:
        for row, path in ROWS.items():
            module, case, name = path.rsplit(".", 2)
            self.assertTrue(callable(getattr(getattr(importlib.import_module(module), case), name, None)), row)


class ForwardRowTests(IstatCase):
    def test_agent_master_standby(self) -> Any:
        return ensureDeferred(self.standby())

    async def standby(self) -> None:
        master = self.start("master", fake_time=50)
        middle = self.start("middle", agent="localhost:1", fake_time=50)
        agent = self.start("agent", store=False, agent="localhost:1", fake_time=50)
        first, second = self.connect(middle), self.connect(master)
        self.send(agent, "test 40 42", "test 41 8", "*event 40 30")
        self.carry(agent, first, middle)
        self.carry(middle, second, master)
        for name in ("test", "event"):
            for daemon in (middle, master):
                await self.admin(daemon, "flush")
            self.assertEqual(self.sums(middle, name), self.sums(master, name))
        self.assertEqual(self.sums(master, "test"), [50.0])

    def test_store_n_forward_to_master(self) -> Any:
        return ensureDeferred(self.store_and_forward())

    async def store_and_forward(self) -> None:
        middle = self.start("middle", agent="localhost:1", fake_time=50)
        master = self.start("master", fake_time=50)
        self.connect(middle).dataReceived(b"#hostname one\r\nx 40 1\r\n")
        gone = self.connect(middle)
        gone.dataReceived(b"#hostname two\r\nx 40 2\r\n")
        gone.connectionLost()
        middle.turn.end()
        self.carry(middle, self.connect(master), master)
        for daemon in (middle, master):
            await self.admin(daemon, "flush")
            self.assertEqual(self.sums(daemon, "x"), [3.0])
        told = await self.json(middle, "/?a=*")
        self.assertEqual(told["count"], 2)
        self.assertEqual([record["_online"] for record in told["agents"]], [True, False])


class AnswerRowTests(IstatCase):
    def test_counter_list(self) -> Any:
        return ensureDeferred(self.counter_list())

    async def counter_list(self) -> None:
        one = self.start()
        self.send(one, f"foo.bar {T} 1", f"foo.baz {T} 2")
        await self.admin(one, "flush")
        found = (await self.json(one, "/?q=foo*"))["matching_names"]
        self.assertEqual([each["name"] for each in found], ["foo", "foo.bar", "foo.baz"])
        reply = await self.post(one, "/?s=global", {"a": 1, "b.c": "x", "b.d": True})
        self.assertEqual(json.loads(reply.body), {"success": True})
        self.assertEqual(await self.json(one, "/?s=global"), {"a": "1", "b.c": "x", "b.d": "true"})
        self.assertEqual(await self.json(one, "/?s=global&sk=b.*"), {"b.c": "x", "b.d": "true"})
        await self.admin(one, "flush")
        path = os.path.join(self.folder, "one.settings", "global.set")
        with open(path, "a", encoding="utf-8") as file:
            file.write("by.hand=yes\n")
        self.assertEqual((await self.json(one, "/?s=global"))["by.hand"], "yes")
        told = one.own.changes()
        for name in (b"pagecache.misses.time_10s", b"pagecache.misses.time_1h"):
            self.assertIn(b"*istatd." + name, told)

    def test_eager_connection_leak(self) -> Any:
        return ensureDeferred(self.no_leak())

    async def no_leak(self) -> None:
        one = self.start()
        for number in range(15):
            self.send(one, f"a {T} {number}").connectionLost()
        self.assertEqual(len(one.lines.connections), 0)
        told = await self.json(one, "/?a=*")
        self.assertEqual([record["_online"] for record in told["agents"]], [False] * 15)
        await self.admin(one, "purge 5,0")
        self.assertEqual((await self.json(one, "/?a=*"))["count"], 5)

    def test_memory_counters(self) -> Any:
        return ensureDeferred(self.memory())

    async def memory(self) -> None:
        one = self.start()
        told = dict(line.split(" ") for line in one.own.state().decode().splitlines())
        for name in ("vmsize", "vmrss"):
            self.assertGreater(int(told[f"istatd.app.memory.{name}"]), 1 << 20)

    def test_debug_options_tell_more(self) -> Any:
        return ensureDeferred(self.telling())

    async def telling(self) -> None:
        one = self.start()
        told: list[str] = []
        observer = lambda event: told.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.ask(one, "GET", "/quiet")
        await self.admin(one, "debug http,on")
        await self.ask(one, "GET", "/loud")
        connection: Any = AdminFactory(one.orders).buildProtocol(None)
        connection.makeConnection(StringTransport())
        connection.lineReceived(b"debug admin,on")
        connection.lineReceived(b"loglevel")
        requests = [text for text in told if text.startswith("GET")]
        self.assertEqual(requests, ["GET /loud: 404"])
        self.assertIn("An administrator says: loglevel", told)
        self.assertNotIn("An administrator says: debug admin,on", told)
