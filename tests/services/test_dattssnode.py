"""Tests of `cadtwist.services.dattssnode`: the recorded timeline, restarts, bounds, and that nothing is lost."""

from __future__ import annotations

import json
import os
from typing import Any

from msgspec.structs import replace

from cadtwist.codec.dattss import Datagram
from cadtwist.model.dattssalert import Alert
from cadtwist.model.summaryjob import NOWHERE, StatisticKey
from cadtwist.services.dattssnode import GATHERED_IDLE_S
from tests.dattssrig import CONFIG, DattssCase, body, partial
from tests.model.test_partial import recording

MINUTE = 60.0
OK = (200, b'{"ok":true}')


class RecordedTests(DattssCase):
    def test_the_timeline(self) -> None:
        """Over HTTP, and into the files: what the original answered and stored."""
        for step in recording("server_vectors")["environment"]:
            self.clock.advance(step["advance_s"])
            if "agg" not in step:
                before = dict(self.stored())
                self.successResultOf(self.rig.node.commit())
                after = self.stored()
                wanted = {
                    (write[1]["dte"], write[1]["typ"], write[1]["pth"]): write[-1]
                    for write in step["writes"] if write[0] == "dts_aggregates"
                }  # fmt: skip
                self.assertEqual(after.keys() - before.keys(), wanted.keys())
                for key, columns in wanted.items():
                    for name in after[key].keys() & columns.keys():
                        self.assertEqual(after[key][name], columns[name], (key, name))
                continue
            reply = self.rig.put(body(**step["agg"]))
            self.assertEqual((reply.status, reply.body), OK)
            status = self.rig.json("/s/status")
            for kind, entries in step["status"].items():
                for mine, recorded in zip(status[kind], entries, strict=True):
                    if recorded["avg"] is None:  # the original forgets the last value and the emphasis
                        self.assertEqual((mine["avg"], mine["max"], mine["min"]), (None, None, None))
                        self.assertEqual(mine.get("lst"), 30 if kind == "g" else None)
                    else:
                        self.assertEqual(mine, recorded, step["label"])
        self.assertEqual(self.rig.balance(), {})

    def stored(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Return what the store has: (minute as the original writes it, type, path) -> columns."""
        found = {}
        for kind in ("c", "g", "ms"):
            for path in ("new", "live", "query", "other"):
                batch = self.rig.store.fetch(StatisticKey("user1", kind, path), 0, 1 << 40)
                for row in range(len(batch)):
                    hour, minute = divmod(int(batch.timestamps[row]) // 60 % 1440, 60)
                    columns = {
                        "sum": batch.sums, "cnt": batch.counts, "max": batch.maxima, "min": batch.minima,
                        "fst": batch.firsts, "lst": batch.lasts, "top": batch.tops, "bot": batch.bottoms,
                        "pct": batch.shares,
                    }  # fmt: skip
                    values = {name: column[row] for name, column in columns.items() if column is not None}
                    found[f"2026-01-02-{hour:02d}-{minute:02d}", kind, path] = values
        return found


class RestartTests(DattssCase):
    def put(self, path: str = "a", *values: float) -> None:
        self.assertEqual(self.rig.put(body(c=[partial(path, *values)])).status, 200)

    def counter(self, path: str = "a") -> tuple[float, str]:
        (found,) = (each for each in self.rig.json("/s/status")["c"] if each["pth"] == path)
        return found["sum"], found["avg"]

    def minutes(self, path: str = "a") -> list[float]:
        found: list[float] = self.rig.store.fetch(StatisticKey("user1", "c", path), 0, 1 << 40).sums.tolist()
        return found

    def test_in_order(self) -> None:
        self.put("a", 60, 60)
        self.again()
        self.assertEqual((self.counter(), self.minutes()), ((120, "2.00"), [120]))

    def test_killed_before_the_minute_was_stored(self) -> None:
        self.put("a", 60, 60)
        self.again(stored=False)
        self.assertEqual((self.counter(), self.minutes()), ((120, "2.00"), []))
        self.successResultOf(self.rig.node.commit())
        self.assertEqual(self.minutes(), [120])

    def test_killed_after_it_was_stored(self) -> None:
        self.put("a", 60)
        self.successResultOf(self.rig.node.commit())
        self.put("a", 30)
        for _ in range(3):
            self.again(stored=False)
            self.assertEqual(self.counter(), (90, "1.50"))
        self.successResultOf(self.rig.node.commit())
        self.assertEqual((self.minutes(), self.rig.balance()), ([90], {}))

    def test_killed_again_and_again(self) -> None:
        """Whatever is answered is there once, however often the server dies."""
        total = 0
        for number in range(40):
            self.put("a", number)
            total += number
            self.clock.advance(7)
            if number % 3 == 0:
                self.successResultOf(self.rig.node.commit())
            if number % 4 == 1:
                self.again(stored=number % 8 == 1)
        self.again()
        self.assertEqual((self.counter()[0], sum(self.minutes())), (total, total))

    def test_totals_of_a_process_that_restarted_do_not_come_back(self) -> None:
        def put(uptime: float, *values: float) -> None:
            partials = [partial("a", *values, name="nam")] if values else []
            self.assertEqual(self.rig.put(body(c=partials, nam="proc", upt=uptime)).status, 200)

        put(100, 5)
        self.successResultOf(self.rig.node.commit())
        put(2)
        for stored in (False, True, True):
            self.again(stored)
            self.assertNotIn(5, [each["sum"] for each in self.rig.json("/s/status")["c"]])
        put(8, 1)
        self.assertEqual(self.counter("proc.a")[0], 1)

    def test_minutes_of_long_ago_are_no_part_of_averages(self) -> None:
        self.put("a", 60)
        self.successResultOf(self.rig.node.commit())
        self.clock.advance(61)
        self.again(stored=False)
        self.assertEqual(self.counter(), (60, "0.00"))

    def test_without_a_log_only_stored_minutes_survive(self) -> None:
        self.rig.node._journal = None
        self.put("a", 60)
        self.successResultOf(self.rig.node.commit())
        self.put("a", 1)
        self.again(stored=False)
        self.assertEqual(self.counter()[0], 60)

    def test_the_log_does_not_grow(self) -> None:
        for _ in range(300):
            self.put("a", *range(20))
            self.clock.advance(5)
            if self.clock.seconds() % 60 < 5:
                self.successResultOf(self.rig.node.commit())
        gauges = self.rig.telemetry.account("dattss log").gauges
        self.assertLess(gauges["bytes"](), 1 << 18)

    def test_a_process_of_v1_that_restarts(self) -> None:
        def put(uptime: float, *values: float) -> None:
            data = body(c=[partial("a", *values, name="nam")], nam="proc", upt=uptime)
            self.assertEqual(self.rig.put(data).status, 200)

        put(100, 5)
        put(105, 5)
        self.assertEqual(self.counter("proc.a")[0], 10)
        put(2, 1)
        self.assertEqual(self.counter("proc.a")[0], 1)
        self.successResultOf(self.rig.node.commit())
        self.assertEqual(self.minutes("proc.a"), [11], "what was put before is stored")
        self.again(stored=False)
        put(7, 1)
        self.assertEqual(self.counter("proc.a")[0], 2)
        self.assertEqual(self.rig.json("/s/processes")[0]["status"], "up")
        self.clock.advance(8)
        self.assertEqual(self.rig.json("/s/processes")[0]["status"], "down")


class StoringTests(DattssCase):
    def test_a_store_that_fails_for_a_while_loses_nothing(self) -> None:
        self.rig.put(body(c=[partial("a", 1)]))
        write, self.rig.store.write = self.rig.store.write, self.fail_to_write  # type: ignore[method-assign]
        self.successResultOf(self.rig.node.commit())
        self.flushLoggedErrors()
        self.rig.store.write = write  # type: ignore[method-assign]
        self.rig.put(body(c=[partial("a", 2)]))
        self.assertEqual(self.rig.balance(), {})
        self.clock.advance(MINUTE)
        self.successResultOf(self.rig.node.commit())
        self.assertEqual(self.rig.store.fetch(StatisticKey("user1", "c", "a"), 0, 1 << 40).sums.tolist(), [3])
        account = self.rig.node.account
        self.assertEqual((account.out, account.held(), account.counters["commits_failed"]), (2, 0, 1))

    def fail_to_write(self, _: object) -> None:
        raise OSError("the disk is away")

    def test_what_comes_while_minutes_are_gathered_is_counted_once(self) -> None:
        for number in range(500):
            self.rig.put(body(c=[partial(f"m{number}", 1)]))
        slices: list[int] = []

        def between() -> None:
            slices.append(1)
            self.rig.put(body(c=[partial("m0", 10), partial("m499", 10), partial("new", 10)]))

        self.rig.between = between
        self.successResultOf(self.rig.node.commit())
        self.assertEqual((len(slices), self.rig.balance()), (3, {}))
        for stored in (False, True):
            self.again(stored)
            sums = {each["pth"]: each["sum"] for each in self.rig.json("/s/status")["c"]}
            self.assertEqual((sums["m0"], sums["m499"], sums["new"], sums["m5"]), (31, 31, 30, 1))
        for path, wanted in (("m0", 31), ("m499", 31), ("new", 30), ("m5", 1)):
            found = self.rig.store.fetch(StatisticKey("user1", "c", path), 0, 1 << 40)
            self.assertEqual(sum(found.sums.tolist()), wanted, path)

    def test_one_minute_at_a_time(self) -> None:
        self.rig.put(body(c=[partial("a", 1)]))
        self.rig.blocking = 1
        first = self.rig.node.commit()
        self.rig.put(body(c=[partial("a", 2)]))
        self.clock.advance(MINUTE)
        self.assertIs(self.rig.node.commit(), first)
        self.assertNoResult(first)
        self.assertEqual(self.rig.balance(), {})
        self.rig.unblock()
        self.successResultOf(first)
        self.successResultOf(self.rig.node.commit())
        self.assertEqual(self.rig.store.fetch(StatisticKey("user1", "c", "a"), 0, 1 << 40).sums.tolist(), [1, 2])

    def test_nothing_new_writes_nothing(self) -> None:
        self.successResultOf(self.rig.node.commit())
        self.assertEqual(self.rig.store.place(), NOWHERE)

    def test_old_days_and_statistics_leave(self) -> None:
        self.rig.put(body(c=[partial("a", 1)]))
        self.successResultOf(self.rig.node.commit())
        self.clock.advance(61)
        self.rig.json("/s/status")
        self.clock.advance(9 * 86_400)
        self.successResultOf(self.rig.node.clean(self.clock.seconds()))
        self.assertEqual(self.rig.json("/s/status")["c"], [])
        self.assertEqual(len(self.rig.store.fetch(StatisticKey("user1", "c", "a"), 0, 1 << 40)), 0)
        self.again()
        self.assertEqual(self.rig.json("/s/status")["c"], [])


class BoundTests(DattssCase):
    config = replace(CONFIG, max_users=2, max_statistics=3)

    def test_statistics_and_users(self) -> None:
        self.assertEqual(self.rig.put(body(c=[partial(f"m{n}", 1) for n in range(5)])).status, 200)
        self.rig.put(body(), "user2")
        reply = self.rig.put(body(c=[partial("a", 1)]), "user3")
        self.assertEqual((reply.status, json.loads(reply.body)["error"]["message"]), (500, "Too many users"))
        self.assertEqual(self.rig.node.account.dropped, {"too_many_statistics": 2, "too_many_users": 1})
        self.assertEqual(self.rig.balance(), {})

    def test_only_known_users(self) -> None:
        self.rig.book.sign_up("user1", "a@b.c", "x", 5)
        self.again(known_users_only=True)
        self.assertEqual(self.rig.put(body(), "user1").status, 200)
        self.assertEqual(json.loads(self.rig.put(body(), "user2").body)["error"]["name"], "AuthenticationError")
        self.rig.node.values([Datagram("user2", "p.a", 1, "c", False)])
        self.assertEqual(self.rig.node.values_account.dropped, {"no_such_user": 1})


class ValueTests(DattssCase):
    config = replace(CONFIG, max_users=2, max_statistics=3)

    def test_values_are_put_together_as_a_client_does(self) -> None:
        node = self.rig.node
        for value in (3, 1, 2):
            node.values([Datagram("user1", "p.a", value, "ms", value == 1)])
        self.assertEqual(self.rig.json("/s/status")["ms"], [])
        self.assertEqual(self.rig.balance(), {})
        node.push()
        (entry,) = self.rig.json("/s/status")["ms"]
        self.assertEqual((entry["avg"], entry["max"], entry["min"], entry["emp"]), ("2.00", 3, 1, True))
        self.assertEqual((node.values_account.out, node.account.made, self.rig.balance()), (3, 1, {}))
        self.again(stored=False)
        self.assertEqual(self.rig.json("/s/status")["ms"], [entry])

    def test_bounds(self) -> None:
        node = self.rig.node
        node.values([Datagram(f"user{n}", "p.a", 1, "c", False) for n in range(4)])
        node.values([Datagram("user0", f"p.{n}", 1, "c", False) for n in range(4)])
        self.assertEqual(node.values_account.dropped, {"too_many_users": 2, "too_many_statistics": 2})
        self.assertEqual(self.rig.balance(), {})

    def test_who_sends_no_more_is_forgotten(self) -> None:
        node = self.rig.node
        node.values([Datagram("user1", "p.a", 1, "c", False)])
        node.push()
        self.clock.advance(GATHERED_IDLE_S - 1)
        node.push()
        self.assertIsNotNone(node.users["user1"].gathering)
        self.clock.advance(1)
        node.push()
        self.assertIsNone(node.users["user1"].gathering)

    def test_values_of_another_nodes_user_are_passed_on(self) -> None:
        node = self.rig.node
        passed: list[Any] = []
        node.belongs_here = lambda user: user == "mine"
        node.pass_on = lambda *given: passed.append(given)
        node.values([Datagram(user, "p.a", 1, "c", False) for user in ("mine", "other", "other")])
        node.push()
        ((user, (one,)),) = passed
        self.assertEqual((user, one.sum, one.cnt, sorted(node.users)), ("other", 2, 2, ["mine"]))
        self.assertEqual((node.values_account.out, self.rig.balance()), (3, {}))


class AlertTests(DattssCase):
    config = replace(CONFIG, mail=replace(CONFIG.mail, to="ops@example.com"))

    def watch(self, *alerts: Alert) -> None:
        for alert in alerts:
            self.rig.book.add_alert(alert)
        self.rig.node.reload_alerts(self.rig.book.alerts())

    def minute(self, *values: float) -> None:
        if values:
            self.rig.put(body(c=[partial("a", *values)]))
        self.clock.advance(MINUTE)
        self.successResultOf(self.rig.node.commit())
        self.rig.node.check_alerts(self.clock.seconds())

    def test_a_mail_and_no_second_one_for_a_while(self) -> None:
        self.watch(Alert("1", "user1", "c", "a", "avg", ">", 1.0))
        for _ in range(4):
            self.minute(100)
        self.assertEqual(self.rig.mails, [])
        self.minute(100)
        ((to, subject, page),) = self.rig.mails
        self.assertEqual((to, subject), ("ops@example.com", "DaTtSs alerts"))
        self.assertIn("Average is greater than 1.00</td><td>1.67", page)
        for _ in range(10):
            self.minute(100)
        self.assertEqual(len(self.rig.mails), 1)
        self.minute(100)
        self.assertEqual(len(self.rig.mails), 2)

    def test_the_users_own_address(self) -> None:
        self.rig.book.sign_up("user1", "me@example.com", "x", 5)
        self.watch(Alert("1", "user1", "c", "a", "age", ">", 100.0))
        self.minute(5)
        for _ in range(6):
            self.minute()
        self.assertEqual([to for to, _, _ in self.rig.mails], ["me@example.com"])

    def test_alerts_are_watched_after_a_restart(self) -> None:
        self.watch(Alert("1", "user1", "c", "a", "sum", "<", 1.0))
        self.again()
        for _ in range(5):
            self.minute()
        self.assertEqual(len(self.rig.mails), 1)

    def test_without_any_address_it_is_only_logged(self) -> None:
        self.again(mail=CONFIG.mail)
        self.watch(Alert("1", "user1", "c", "a", "sum", "<", 1.0))
        for _ in range(5):
            self.minute()
        self.assertEqual((self.rig.mails, self.rig.node.account.counters["alerts"]), ([], 1))


class NewsTests(DattssCase):
    def test_news_are_told_at_once_and_then_not_too_often(self) -> None:
        told: list[float] = []
        node = self.rig.node
        forget = node.listen("user1", lambda: told.append(self.clock.seconds() - start))
        assert forget is not None
        start = self.clock.seconds()
        for _ in range(13):
            self.rig.put(body(c=[partial("a", 1)]))
            node.tell(self.clock.seconds())
            self.clock.advance(1)
        for _ in range(10):
            node.tell(self.clock.seconds())
            self.clock.advance(1)
        self.assertEqual(told, [0, 5, 10, 15], "the last news as well, and none twice")
        forget()
        forget()
        self.rig.put(body(c=[partial("a", 1)]))
        node.tell(self.clock.seconds())
        self.assertEqual(told, [0, 5, 10, 15])


class FileTests(DattssCase):
    def test_where_everything_is(self) -> None:
        self.rig.put(body(c=[partial("a", 1)]))
        self.assertLessEqual({"minutes.sqlite", "book.sqlite", "log"}, set(os.listdir(self.folder)))
