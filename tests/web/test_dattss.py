"""Tests of `cadtwist.web.dattss` and its doors: every route, who may ask, and each error as clients know it."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from cadtwist.model.dattssalert import Alert
from cadtwist.web.answers import Answer
from cadtwist.web.dattss import POLL_S, Sent
from cadtwist.web.dattsslive import BEAT_S
from tests.dattssrig import CONFIG, KEYS, START, DattssCase, Rig, body, partial
from tests.web.wire import Reply

KEY = KEYS.key("user1")
OK = (200, {"ok": True})
DAY = 86_400


def read(reply: Reply) -> tuple[int, Any]:
    return reply.status, json.loads(reply.body)


def timers(clock: Clock) -> list[str]:
    """Return what waits, but for the time-outs of idle connections."""
    return [str(call) for call in clock.getDelayedCalls() if "timedOut" not in str(call)]


def error(text: str, name: str = "Error") -> tuple[int, Any]:
    return 500, {"error": {"name": name, "message": text}}


NOBODY = error("Authentication Error", "AuthenticationError")
MALFORMED = error("Malformed request")


class AggTests(DattssCase):
    def put(self, data: bytes, query: str = f"?auth={KEY}") -> tuple[int, Any]:
        return read(self.rig.ask("PUT", f"/agg{query}", data, Content_Type="application/json"))

    def test_good_and_malformed(self) -> None:
        self.assertEqual(self.put(body(c=[partial("a", 1)])), OK)
        self.assertEqual(self.put(body()), OK)
        for data in (b"", b"{}", b"{", b'{"prt":{"c":[],"g":[]}}'):
            self.assertEqual(self.put(data), MALFORMED)
        self.assertEqual(self.rig.telemetry.account("dattss http").counters, {"agg.ok": 2, "agg.error": 4})

    def test_keys(self) -> None:
        for query in ("?auth=", "?auth=user1.xx", f"?auth={KEY[:-1]}", "?auth=%00", "?auth=%ff"):
            self.assertEqual(self.put(body(), query), NOBODY, query)
        self.assertEqual(self.put(body(), ""), NOBODY)
        self.assertEqual(self.put(b"nothing", ""), MALFORMED)
        self.assertEqual(self.put(body(auth=KEY), ""), OK)

    def test_one_bad_partial(self) -> None:
        data = body(c=[partial("a", 1), partial("bang!path", 1)])
        self.assertEqual(self.put(data), OK)
        self.assertEqual([each["pth"] for each in self.rig.json("/s/status")["c"]], ["a"])
        self.assertEqual(self.rig.node.account.counters, {"bad.name": 1})
        self.again(strict=True)
        self.assertEqual(self.put(data), MALFORMED)

    def test_the_first_generation(self) -> None:
        key = f"user1_{KEYS.hash('user1')}"
        good = body(c=[partial("a", 1, name="nam")], nam="proc", upt=5)
        self.assertEqual(self.put(good, f"?auth={key}"), OK)
        self.assertEqual(self.rig.json("/s/status")["c"][0]["pth"], "proc.a")
        reply = self.rig.ask("PUT", f"/agg?auth={key}", body(nam="proc"))
        self.assertEqual((reply.status, reply.body), (500, b'"Malformed Request"'))
        reply = self.rig.ask("PUT", f"/agg?auth={key[:-1]}", good)
        self.assertEqual((reply.status, reply.body), (503, b"Forbidden"))

    def test_without_the_process_in_front(self) -> None:
        self.again(process_prefix=False)
        self.put(body(c=[partial("a", 1, name="nam")], nam="proc", upt=5))
        self.assertEqual(self.rig.json("/s/status")["c"][0]["pth"], "a")

    def test_the_two_generations_may_have_secrets_of_their_own(self) -> None:
        self.again(first_secret="other")
        self.assertEqual(self.put(body()), OK)
        self.assertEqual(self.rig.ask("PUT", f"/agg?auth=user1_{KEYS.hash('user1')}", body()).status, 503)

    def test_long_bodies(self) -> None:
        self.again(max_body_bytes=1024)
        self.assertEqual(self.rig.ask("PUT", f"/agg?auth={KEY}", b"x" * 1025).status, 413)

    def test_a_server_that_stops_takes_nothing_more(self) -> None:
        self.rig.node.stopping = True
        self.assertEqual(self.put(body(c=[partial("a", 1)])), error("Stopping"))
        self.assertEqual(self.rig.node.account.received, 0)

    def test_several_requests_on_one_connection(self) -> None:
        client = self.rig.client("PUT", f"/agg?auth={KEY}", body())
        self.assertEqual(client.reply().status, 200)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(client.reply().status, 200)

    def test_what_is_not_there(self) -> None:
        self.assertEqual(self.rig.ask("GET", "/favicon.ico").status, 404)
        self.assertEqual(read(self.rig.ask("GET", f"/agg?auth={KEY}")), error("Not found"))
        self.assertEqual(self.rig.json("/s/nothing"), error("Not found")[1])
        self.assertEqual(read(self.rig.ask("GET", "/s/status?" + "&".join(f"a{n}=1" for n in range(200)))), MALFORMED)


class ProcessTests(DattssCase):
    def poll(self, name: str = "web") -> Any:
        data = json.dumps({"auth": KEY, "process": name}).encode()
        return self.rig.client("PUT", f"/process?auth={KEY}", data, Content_Type="application/json")

    def processes(self) -> dict[str, str]:
        return {each["name"]: each["status"] for each in self.rig.json("/s/processes")}

    def test_presence(self) -> None:
        client = self.poll()
        self.assertEqual(self.rig.json("/s/processes"),
                         [{"status": "up", "last": "2026-01-02T03:04:05.000Z", "name": "web"}])  # fmt: skip
        self.clock.advance(POLL_S - 0.1)
        self.assertEqual(client.transport.value(), b"")
        self.clock.advance(0.1)
        self.assertEqual(read(client.reply()), OK)
        self.assertEqual(self.processes(), {"web": "down"})
        self.poll()
        self.assertEqual(self.processes(), {"web": "up"})

    def test_kill_reaches_all_of_the_name(self) -> None:
        first, second, other = self.poll(), self.poll(), self.poll("db")
        self.assertEqual(self.rig.json("/s/process/web", "DELETE"), {"ok": True})
        self.assertEqual([client.reply().body for client in (first, second)], [f"{KEY}-web".encode()] * 2)
        self.assertEqual(other.transport.value(), b"")
        self.assertEqual(self.processes(), {"web": "down", "db": "up"})
        self.assertEqual(self.rig.json("/s/process/x%2Fy", "DELETE"),
                         error("No process found with this name: x/y")[1])  # fmt: skip
        self.clock.advance(POLL_S)
        self.assertEqual(read(other.reply()), OK)
        self.assertEqual(first.transport.value(), b"")

    def test_another_user_kills_nobody(self) -> None:
        client = self.poll()
        self.assertIn("error", self.rig.json("/s/process/web", "DELETE", "user2"))
        self.assertEqual(client.transport.value(), b"")

    def test_a_process_that_leaves(self) -> None:
        client = self.poll()
        gauge = self.rig.telemetry.account("dattss http").gauges["polls"]
        self.assertEqual(gauge(), 1)
        client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.processes(), gauge(), timers(self.clock)), ({"web": "down"}, 0, []))

    def test_refused(self) -> None:
        for data in (b"", b"{}", b'{"process":""}', b'{"process":" "}', b'{"process":5}',
                     json.dumps({"process": "x" * 2000}).encode()):  # fmt: skip
            self.assertEqual(read(self.rig.ask("PUT", f"/process?auth={KEY}", data)), MALFORMED)
        self.assertEqual(read(self.rig.ask("PUT", "/process?auth=x", b"{}")), NOBODY)
        self.again(max_processes=1)
        self.poll()
        self.assertEqual(read(self.poll("db").reply()), error("Too many processes"))


class UserTests(DattssCase):
    def test_status_is_sorted(self) -> None:
        self.rig.put(body(c=[partial("b", 1), partial("a.c", 2)], g=[partial("a", 5)]))
        status = self.rig.json("/s/status")
        self.assertEqual([each["pth"] for each in status["c"]], ["a.c", "b"])
        gauge = {"typ": "g", "pth": "a", "emp": False, "lst": 5, "avg": "5.00", "max": 5, "min": 5}
        self.assertEqual(status["g"], [gauge])
        self.assertEqual(self.rig.json("/s/status", user="user2"), {"c": [], "g": [], "ms": []})

    def test_nobody(self) -> None:
        for path in ("/s/status", "/s/status?auth=x", "/s/processes", "/s/stats/a/c/0/2", "/s/favorite", "/s/alert"):
            self.assertEqual(read(self.rig.ask("GET", path)), NOBODY)

    def test_a_callback(self) -> None:
        reply = self.rig.ask("GET", f"/s/processes?callback=a.b&auth={KEY}")
        self.assertEqual((reply.body, reply.headers["content-type"]), (b"a.b([]);", "text/javascript"))
        self.assertEqual(self.rig.json("/s/processes?callback=a(1)"), error("Wrong param callback")[1])

    def test_history(self) -> None:
        self.clock.advance(12 * 3600)
        for day in range(9):
            for values in ([1, 2, 3], [7]):
                self.rig.put(body(ms=[partial("a-b.c", *values)]))
                self.successResultOf(self.rig.node.commit())
                self.clock.advance(60)
            self.clock.advance(DAY - 120)
            del day
        self.clock.advance(-DAY + 60)
        self.successResultOf(self.rig.node.clean(self.clock.seconds()))
        found = self.rig.json("/s/stats/a-b.c/ms/0/6")
        entry = {"dte": "15-00", "sum": 6.5, "cnt": 2, "typ": "ms", "pct": 0.1, "max": 7, "min": 1, "lst": 7, "fst": 1,
                 "bot": 1, "top": 7}  # fmt: skip
        self.assertEqual(found["current"], [entry])
        self.assertEqual(found["past"], [entry])
        shifted = self.rig.json("/s/stats/a-b.c/ms/-60/1")
        self.assertEqual([each["dte"] for each in shifted["current"]], ["16-04", "16-05"])
        self.assertEqual([each["dte"] for each in shifted["past"]], ["16-04", "16-05"])
        self.assertEqual(self.rig.json("/s/stats/a-b.c/ms"), self.rig.json("/s/stats/a-b.c/ms/0/2"))
        self.assertEqual(self.rig.json("/s/stats/a-b.c/c/0/2"), {"current": [], "past": []})

    def first(self, process: str, uptime_s: float, **prt: Any) -> None:
        self.rig.put(body(nam=process, upt=uptime_s, **prt))

    def test_the_state_of_the_first_generation(self) -> None:
        """By process; those that told no uptime are the first parts of paths, and a path of one part is nobody's."""
        self.first("a.b", 5, c=[partial("x.y", 3, name="nam")], g=[partial("z", 2, name="nam")])
        self.clock.advance(1.5)
        self.rig.put(body(c=[partial("web.hits", 1), partial("alone", 1)]))
        self.clock.advance(1)
        counter = {"typ": "c", "nam": "x.y", "emp": False, "sum": 3, "avg": "0.05"}
        gauge = {"typ": "g", "nam": "z", "emp": False, "lst": 2, "avg": "2.00", "max": 2, "min": 2}
        hits = {"typ": "c", "nam": "hits", "emp": False, "sum": 1, "avg": "0.02"}
        current = {
            "a.b": {"nam": "a.b", "upt": 5, "lst": 2500, "sts": {"c": [counter], "g": [gauge], "ms": []}},
            "web": {"nam": "web", "upt": 0, "lst": 1000, "sts": {"c": [hits], "g": [], "ms": []}},
        }
        wanted = {"ok": True, "id": "user1", "took": 0, "current": current}
        self.assertEqual(self.rig.json("/s/current"), wanted)
        self.assertEqual(self.rig.json("/s/current", user="user2")["current"], {})

    def test_a_process_of_the_first_generation_goes(self) -> None:
        self.first("app", 5, c=[partial("x", 3, name="nam")])
        self.first("app2", 5)
        self.assertEqual(self.rig.json("/s/destroy?process=app"), {"ok": True, "id": "user1", "took": 0})
        self.assertEqual(list(self.rig.json("/s/current")["current"]), ["app2"])
        self.assertEqual(self.rig.json("/s/status")["c"], [])
        self.assertEqual([each["name"] for each in self.rig.json("/s/processes")], ["app2"])
        gone = error("No process found with this name: app")[1]
        self.assertEqual((self.rig.json("/s/destroy?process=app"), self.rig.json("/s/destroy")), (
            gone, error("No process found with this name: ")[1]
        ))  # fmt: skip
        for stored in (False, True):
            self.again(stored)
            self.assertEqual(list(self.rig.json("/s/current")["current"]), ["app2"], "it does not come back")
            self.assertEqual(self.rig.json("/s/current")["current"]["app2"]["lst"], 0)
        self.first("app", 6, c=[partial("x", 4, name="nam")])
        self.assertEqual(self.rig.json("/s/status")["c"][0]["sum"], 4)

    def test_the_days_of_the_first_generation(self) -> None:
        """Today up to now, zero where nothing was; of the week before the mean of the days that have something."""
        for value in (1, 2, 6):
            for part in (value, 4):
                self.first("app", value, ms=[partial("x", part, name="nam")])
                self.successResultOf(self.rig.node.commit())
                self.clock.advance(60)
            self.clock.advance(DAY - 120)
        self.clock.advance(-DAY + 3600)
        asked = "/s/stat?process=app&type=ms&name=x&offset="
        found = self.rig.json(f"{asked}0")
        self.assertEqual((found["ok"], len(found["stat"]["today"]), len(found["stat"]["past"])), (True, 25, 144))
        entry = {"typ": "ms", "pct": 0.1, "sum": 10, "cnt": 2, "max": 6, "min": 4, "top": 6, "bot": 4, "fst": 6,
                 "lst": 4}  # fmt: skip
        zero = {**dict.fromkeys(entry, 0), "typ": "ms", "pct": 0.1}
        self.assertEqual(found["stat"]["today"], [entry if step == 18 else zero for step in range(25)])
        mean = {**entry, "sum": 5.5, "max": 4, "min": 1.5, "top": 4, "bot": 1.5, "fst": 1.5}
        self.assertEqual(found["stat"]["past"], [mean if step == 18 else None for step in range(144)])
        shifted = self.rig.json(f"{asked}-60")["stat"]
        self.assertEqual((len(shifted["today"]), shifted["past"][24]), (31, mean))
        self.assertEqual(self.rig.json("/s/stat?process=app&type=x&name=x"), error("Wrong param type: x")[1])
        self.assertEqual(self.rig.json("/s/stat?process=a b&type=c&name=x".replace(" ", "%20")), error(
            "Wrong param path: a b.x"
        )[1])  # fmt: skip

    def test_history_of_what_is_none(self) -> None:
        self.assertEqual(self.rig.json("/s/stats/a/x/0/2"), error("Wrong param type: x")[1])
        self.assertEqual(self.rig.json("/s/stats/a%20b/c/0/2"), error("Wrong param path: a b")[1])

    def test_favourites(self) -> None:
        for path in ("ms-a-b.c", "c-x", "c-x"):
            self.assertEqual(self.rig.json(f"/s/favorite/{path}", "PUT"), {"ok": True})
        self.assertEqual(self.rig.json("/s/favorite"), ["c-x", "ms-a-b.c"])
        self.assertEqual(self.rig.json("/s/favorite", user="user2"), [])
        self.assertEqual(self.rig.json("/s/favorite/ms-a-b.c", "DELETE"), {"ok": True})
        self.again()
        self.assertEqual(self.rig.json("/s/favorite"), ["c-x"])
        for wrong, text in (("x", "favorite: x"), ("x-a", "type: x"), ("c-", "path: "), ("c-a%2fb", "path: a/b")):
            self.assertEqual(self.rig.json(f"/s/favorite/{wrong}", "PUT"), error(f"Wrong param {text}")[1])

    def alert(self, path: str, **given: Any) -> Any:
        return self.rig.json(f"/s/alert/{path}", "PUT", data=json.dumps(given).encode())

    def test_alerts(self) -> None:
        self.assertEqual(self.alert("ms/a.b", key="max", operator=">", value="12.7"), {"ok": True})
        self.assertEqual(self.alert("process/my%20web", key="age", operator=">", value=60), {"ok": True})
        found = self.rig.json("/s/alert")
        self.assertEqual(
            [(each["type"], each["path"], each["key"], each["operator"], each["value"]) for each in found],
            [("ms", "a.b", "max", ">", 12), ("process", "my web", "age", ">", 60)],
        )
        self.assertEqual(self.rig.json("/s/alert", user="user2"), [])
        self.assertIn("error", self.rig.json(f"/s/alert/{found[0]['id']}", "DELETE", "user2"))
        self.assertEqual(self.rig.json(f"/s/alert/{found[0]['id']}", "DELETE"), {"ok": True})
        self.assertEqual([each["id"] for each in self.rig.json("/s/alert")], [found[1]["id"]])
        self.assertEqual(self.rig.book.alerts()[0], Alert(found[1]["id"], "user1", "process", "my web", "age", ">", 60))

    def test_alerts_that_are_none(self) -> None:
        good = {"key": "avg", "operator": "<", "value": -5}
        self.assertEqual(self.alert("c/a", **good), {"ok": True})
        self.assertEqual(self.rig.json("/s/alert")[0]["value"], -5)
        for path, change, text in (
            ("c/a", {"key": "lst"}, "key: lst"), ("c/a", {"key": None}, "key: None"),
            ("c/a", {"operator": "!"}, "operator: !"), ("c/a", {"value": "x"}, "value: x"),
            ("c/a", {"value": ""}, "value: "), ("c/a", {"value": "9" * 19}, f"value: {'9' * 19}"),
            ("q/a", {}, "type: q"), ("c/a%20b", {}, "path: a b"),
        ):  # fmt: skip
            self.assertEqual(self.alert(path, **{**good, **change}), error(f"Wrong param {text}")[1])

    def test_the_limit_of_favourites_is_told(self) -> None:
        for number in range(1000):
            self.rig.book.add_favourite("user1", f"c-{number}")
        self.assertEqual(self.rig.json("/s/favorite/c-x", "PUT"), error("there are 1000 favourites already")[1])


class DemoTests(DattssCase):
    config = replace(CONFIG, demo_user="user1")

    def test_everybody_may_look(self) -> None:
        self.rig.put(body(c=[partial("a", 1)]))
        self.assertEqual(read(self.rig.ask("GET", "/demo/status")), (200, self.rig.json("/s/status")))
        self.assertEqual(read(self.rig.ask("GET", "/demo/favorite")), (200, []))

    def test_nothing_changes(self) -> None:
        client = self.rig.client("PUT", f"/process?auth={KEY}", b'{"process":"web"}')
        changes = ("PUT", "favorite/c-a"), ("DELETE", "process/web"), ("PUT", "alert/c/a")
        for method, path in (*changes, ("GET", "destroy?process=web")):
            self.assertEqual(read(self.rig.ask(method, f"/demo/{path}")), OK)
        self.assertEqual((self.rig.json("/s/favorite"), client.transport.value()), ([], b""))

    def test_without_a_demo(self) -> None:
        self.again(demo_user="")
        self.assertEqual(read(self.rig.ask("GET", "/demo/status")), error("There is no demo"))


class AccountTests(DattssCase):
    def post(self, what: str, cookie: str = "", **fields: str) -> Reply:
        headers = {"Cookie": cookie} if cookie else {}
        return self.rig.ask("POST", f"/s/auth/{what}", json.dumps(fields).encode(), **headers)

    def who(self, cookie: str) -> Any:
        return json.loads(self.rig.ask("GET", "/s/auth/user", Cookie=cookie).body)

    def signed_up(self) -> str:
        """Sign up and choose a password; return the cookie."""
        self.assertEqual(self.post("signup", email="me@example.com").status, 200)
        (to, _, page) = self.rig.mails.pop()
        self.assertEqual(to, "me@example.com")
        self.code = page.partition("code=")[2].partition("'")[0]
        reply = self.post("password", code=self.code, password="correct horse")
        self.assertEqual(read(reply), OK)
        return reply.headers["set-cookie"].partition(";")[0]

    def test_from_signing_up_to_signing_out(self) -> None:
        cookie = self.signed_up()
        told = self.who(cookie)
        self.assertEqual((told["email"], told["logged_in"], told["date"]),
                         ("me@example.com", True, "2026-01-02T03:04:05.000Z"))  # fmt: skip
        self.assertEqual(told["auth"], KEYS.key(told["uid"]))
        self.assertRegex(told["uid"], "^[0-9a-f]{40}$")
        self.assertEqual(self.rig.ask("PUT", f"/agg?auth={told['auth']}", body(c=[partial("a", 1)])).status, 200)
        status = json.loads(self.rig.ask("GET", "/s/status", Cookie=cookie).body)
        self.assertEqual(status["c"][0]["pth"], "a")
        reply = self.rig.ask("GET", "/s/auth/signout", Cookie=cookie)
        self.assertEqual((reply.status, reply.headers["location"]), (302, "/#/auth/signin"))
        self.assertIn("Max-Age=0", reply.headers["set-cookie"])

    def test_signing_in(self) -> None:
        self.signed_up()
        reply = self.post("signin", email="me@example.com", password="correct horse")
        self.assertEqual(read(reply), OK)
        for word in ("HttpOnly", "SameSite=Strict", "Path=/", "dattss.sid="):
            self.assertIn(word, reply.headers["set-cookie"])
        self.assertTrue(self.who(reply.headers["set-cookie"].partition(";")[0])["logged_in"])
        for email, password in (("me@example.com", "x"), ("x", "correct horse"), ("me@example.com", "x" * 2000)):
            reply = self.post("signin", email=email, password=password)
            self.assertEqual(read(reply), error("Wrong email or password"))
            self.assertNotIn("set-cookie", reply.headers)

    def test_codes_count_once(self) -> None:
        self.signed_up()
        for code in (self.code, "", "x.y", self.code.partition(".")[2]):
            self.assertEqual(read(self.post("password", code=code, password="p")), error("Wrong verification code"))
        self.assertEqual(read(self.post("password", code=self.code, password="")), error("Wrong password"))

    def test_signing_up_twice(self) -> None:
        self.post("signup", email="me@example.com")
        self.assertEqual(read(self.post("signup", email="me@example.com")), error("Already signed up"))
        self.rig.mails.clear()
        self.signed_up_again()
        self.assertEqual(read(self.post("signup", email="me@example.com")), error("Email already in use"))
        for email in ("", "me", "me@x", "me@example.toolong", "me@exam ple.com", "a" * 300 + "@example.com"):
            self.assertEqual(read(self.post("signup", email=email)), error("Wrong email"))

    def signed_up_again(self) -> None:
        self.assertEqual(read(self.post("reset", email="me@example.com")), OK)
        code = self.rig.mails.pop()[2].partition("code=")[2].partition("'")[0]
        self.assertEqual(read(self.post("password", code=code, password="p")), OK)

    def test_a_new_password(self) -> None:
        self.signed_up()
        self.signed_up_again()
        self.assertEqual(read(self.post("signin", email="me@example.com", password="p")), OK)
        self.assertEqual(read(self.post("reset", email="nobody@example.com")), OK)
        self.assertEqual(self.rig.mails, [])

    def test_nobody_signs_up_unless_it_is_allowed(self) -> None:
        self.again(may_sign_up=False)
        self.assertEqual(read(self.post("signup", email="me@example.com")), error("Nobody can sign up here"))

    def test_sessions_that_do_not_hold(self) -> None:
        cookie = self.signed_up()
        name, _, value = cookie.partition("=")
        user, until, signature = value.strip('"').split("|")
        for wrong in ("", "x", f"x|{until}|{signature}", f"{user}|{int(until) + 1}|{signature}", f"{user}|{until}|",
                      f"{user}|x|{signature}", f"{user}|{until}|\xff", "|" * 9):  # fmt: skip
            self.assertEqual(self.who(f"{name}={wrong}"), {"logged_in": False})
        self.assertTrue(self.who(f"{name}={user}|{until}|{signature}")["logged_in"])
        self.clock.advance(365 * DAY)
        self.assertEqual(self.who(cookie), {"logged_in": False})

    def test_the_session_of_a_user_who_is_gone(self) -> None:
        cookie = self.signed_up()
        self.rig.node.known.clear()
        reply = self.rig.ask("GET", "/s/status", Cookie=cookie)
        self.assertEqual((reply.status, reply.headers["location"]), (302, "/#/auth/signin"))

    def test_what_is_not_there(self) -> None:
        for method, path in (("GET", "signup"), ("POST", "nothing"), ("GET", "user/more"), ("GET", "")):
            self.assertEqual(read(self.rig.ask(method, f"/s/auth/{path}")), error("Not found"))


class LiveTests(DattssCase):
    def events(self, client: Any) -> list[tuple[str, Any]]:
        data = client.transport.value().decode()
        client.transport.clear()
        return [(name, json.loads(text)) for name, text in re.findall(r"event: (\S+)\ndata: (.*)\n\n", data)]

    def test_the_state_and_then_the_news(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEY}")
        nothing: dict[str, Any] = {"c": [], "g": [], "ms": []}
        self.assertEqual(self.events(client), [("status:update", nothing), ("processes:update", [])])
        self.rig.put(body(c=[partial("a", 1)]))
        self.assertEqual(self.events(client)[0], ("status:update", self.rig.json("/s/status")))
        self.rig.put(body(c=[partial("a", 1)]))
        self.rig.put(body(c=[partial("a", 1)]), "user2")
        self.assertEqual(self.events(client), [])
        self.clock.advance(5)
        self.rig.node.tell(self.clock.seconds())
        self.assertEqual(self.events(client)[0], ("status:update", self.rig.json("/s/status")))

    def test_it_shows_that_it_lives(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEY}")
        client.transport.clear()
        self.clock.advance(BEAT_S)
        self.assertIn(b": beat", client.transport.value())

    def test_a_slow_reader_gets_the_last_state(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEY}")
        client.transport.clear()
        client.transport.producer.pauseProducing()
        self.rig.put(body(c=[partial("a", 1)]))
        self.clock.advance(BEAT_S)
        self.assertEqual(client.transport.value(), b"")
        self.rig.put(body(c=[partial("a", 1)]))
        client.transport.producer.resumeProducing()
        self.assertEqual(self.events(client)[0][1]["c"][0]["sum"], 2)

    def test_the_end_lets_go_of_all_who_wait(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEY}")
        poll = self.rig.client("PUT", f"/process?auth={KEY}", b'{"process":"web"}')
        client.transport.clear()
        for _ in range(2):
            self.rig.site.resource.end()
        self.assertTrue(client.transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(read(poll.reply()), OK)
        self.assertEqual((len(self.rig.node.users["user1"].listeners), timers(self.clock)), (0, []))

    def test_readers_leave_and_are_bounded(self) -> None:
        clients = [self.rig.client("GET", f"/s/live?auth={KEY}") for _ in range(100)]
        reply = self.rig.ask("GET", f"/s/live?auth={KEY}")
        self.assertEqual(read(reply), error("Too many listeners"))
        for client in clients:
            client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((len(self.rig.node.users["user1"].listeners), timers(self.clock)), (0, []))
        self.assertEqual(read(self.rig.ask("GET", "/s/live")), NOBODY)


class Elsewhere:
    """All users but user1 live on another node."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answer: Any = Answer(b'{"there":true}', "application/json", 200, {"Set-Cookie": "a=b"})

    def home_of(self, user: str) -> str | None:
        return None if user == "user1" else "other:3002"

    def stream(self, node: str, sent: Sent, take: Any) -> Deferred[None]:
        self.sent.append(sent)
        self.streamed: Deferred[None] = Deferred()
        self.take = take
        return self.streamed

    def forward(self, node: str, sent: Sent) -> Deferred[Answer]:
        self.sent.append(sent)
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)


class NodesTests(DattssCase):
    def setUp(self) -> None:
        super().setUp()
        self.elsewhere = Elsewhere()
        self.rig.close()
        self.rig = Rig(self.folder, self.clock, CONFIG, self.elsewhere)
        self.addCleanup(self.rig.close, stored=False)

    def test_ours_stay(self) -> None:
        self.assertEqual(read(self.rig.put(body())), OK)
        self.assertEqual(self.elsewhere.sent, [])

    def test_others_go_there_whole(self) -> None:
        key = KEYS.key("user2")
        data = body(c=[partial("a", 1)])
        reply = self.rig.ask("PUT", f"/agg?auth={key}&x=1", data, Content_Type="application/json")
        self.assertEqual(read(reply), (200, {"there": True}))
        self.assertEqual(reply.headers["set-cookie"], "a=b")
        (sent,) = self.elsewhere.sent
        self.assertEqual((sent.method, sent.uri, sent.body), (b"PUT", f"/agg?auth={key}&x=1".encode(), data))
        self.assertIn((b"content-type", b"application/json"), sent.headers)
        for method, path in (("PUT", "/process"), ("GET", "/s/status"), ("DELETE", "/s/process/x")):
            self.assertEqual(read(self.rig.ask(method, f"{path}?auth={key}")), (200, {"there": True}))
        self.assertEqual(len(self.elsewhere.sent), 4)
        self.assertNotIn("user2", self.rig.node.users)

    def test_news_of_others_come_as_they_come(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEYS.key('user2')}")
        self.elsewhere.take(b"event: x\ndata: 5\n\n")
        self.assertIn(b"text/event-stream", client.transport.value())
        self.assertIn(b"event: x\ndata: 5\n\n", client.transport.value())
        self.elsewhere.streamed.callback(None)
        self.assertTrue(client.transport.value().endswith(b"0\r\n\r\n"))

    def test_who_reads_news_of_others_may_leave(self) -> None:
        client = self.rig.client("GET", f"/s/live?auth={KEYS.key('user2')}")
        client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.elsewhere.streamed.called)

    def test_only_the_home_knows_its_users(self) -> None:
        self.rig.close()
        self.rig = Rig(self.folder, self.clock, replace(CONFIG, known_users_only=True), self.elsewhere)
        self.assertEqual(read(self.rig.put(body(), "user2")), (200, {"there": True}))
        self.assertEqual(read(self.rig.put(body(), "user1")), NOBODY)

    def test_signing_in_goes_to_the_users_home(self) -> None:
        reply = self.rig.ask("POST", "/s/auth/signin", b'{"email":"me@example.com","password":"x"}')
        self.assertEqual(read(reply), (200, {"there": True}))

    def test_what_was_passed_on_is_not_passed_on_again(self) -> None:
        reply = self.rig.ask("PUT", f"/agg?auth={KEYS.key('user2')}", body(), X_Dattss_Forwarded="other")
        self.assertEqual((read(reply), self.elsewhere.sent), (OK, []))

    def test_a_node_that_is_away(self) -> None:
        self.elsewhere.answer = OSError("refused")
        reply = self.rig.ask("PUT", f"/agg?auth={KEYS.key('user2')}", body())
        self.assertEqual(read(reply), error("other:3002 cannot be asked: refused"))
        self.assertEqual(self.rig.telemetry.account("dattss http").counters["nodes_unreachable"], 1)

    def test_wrong_keys_go_nowhere(self) -> None:
        self.assertEqual(read(self.rig.ask("PUT", "/agg?auth=user2.x", body())), NOBODY)
        self.assertEqual(self.elsewhere.sent, [])


class EncodingTests(DattssCase):
    def test_long_answers_are_compressed_where_clients_like_it(self) -> None:
        self.rig.put(body(c=[partial(f"m{n}", 1) for n in range(50)]))
        plain = self.rig.ask("GET", f"/s/status?auth={KEY}")
        zipped = self.rig.ask("GET", f"/s/status?auth={KEY}", Accept_Encoding="gzip")
        self.assertEqual((zipped.headers["content-encoding"], zipped.body), ("gzip", plain.body))
        self.assertEqual(gzip.decompress(gzip.compress(plain.body)), plain.body)
        self.assertEqual(self.clock.seconds(), START)
