"""Damaged requests and datagrams of DaTtSs' clients: an answer to each, no fault, and the books balance."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.task import Clock

from cadtwist.codec.dattss import DattssKeys, read_datagrams
from tests.dattssrig import CONFIG, START, Rig, body, partial
from tests.fuzz.fuzzing import CASES, Fuzzing

KEYS = DattssKeys("secret")
_MARKS = b'[]{}",:0159.-eEntrfu\\ \x00\xff\n'
_ODD: tuple[Any, ...] = (
    None, True, "", "a", "a b", "x" * 3000, -1, 0, 1.5, 1e308, -1e308, 10**30, 10**400, [], {}, "\ud800", "NaN", "é",
)  # fmt: skip
_PATHS = (
    "/agg", "/process", "/s/status", "/s/processes", "/s/stats/a/c/0/2", "/s/favorite/c-a", "/s/alert/c/a", "/s/alert",
    "/s/auth/user", "/s/auth/signin", "/s/auth/password", "/s/auth/reset", "/s/process/x", "/demo/status", "/", "/s",
    "/s//", "/s/%ff/%00", "/demo",
)  # fmt: skip


class DattssTests(Fuzzing):
    def setUp(self) -> None:
        super().setUp()
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.clock = Clock()
        self.clock.advance(START)
        self.rig = Rig(self.folder, self.clock, CONFIG)
        self.addCleanup(self.rig.close, stored=False)

    def damaged(self, data: bytes) -> bytes:
        for _ in range(self.dice.randint(0, 3)):
            at = self.dice.randrange(len(data) + 1)
            new = bytes(self.dice.choices(_MARKS, k=self.dice.randint(0, 3)))
            data = data[:at] + new + data[at + self.dice.choice((0, 0, 1, 9)) :]
        return data

    def odd_partial(self) -> Any:
        found: dict[str, Any] = partial(self.dice.choice(("a", "b.c")), *(self.dice.randint(-9, 9) for _ in range(3)))
        for _ in range(self.dice.randint(0, 2)):
            found[self.dice.choice(list(found))] = self.dice.choice(_ODD)
        return self.dice.choice((found, found, found, self.dice.choice(_ODD)))

    def odd_body(self) -> bytes:
        parts = {kind: [self.odd_partial() for _ in range(self.dice.randint(0, 3))] for kind in ("c", "g", "ms")}
        document: dict[str, Any] = {"prt": parts}
        if self.dice.random() < 0.3:
            document |= {"nam": self.dice.choice(_ODD), "upt": self.dice.choice(_ODD)}
        return json.dumps(document).encode("utf-8", "surrogatepass")

    def test_requests(self) -> None:
        key = KEYS.key("user1")
        for number in range(max(CASES // 20, 500)):
            path = self.dice.choice(_PATHS)
            method = self.dice.choice(("GET", "PUT", "POST", "DELETE", "HEAD"))
            data = self.damaged(self.odd_body() if self.dice.random() < 0.7 else body(c=[partial("a", 1)]))
            mine = f"?auth={key}"
            query = self.dice.choice((mine, mine, "", "?auth=x.y", f"{mine}&callback=f", "?&&=%"))
            client = self.rig.client(method, path + query, data if method in ("PUT", "POST") else b"")
            self.clock.advance(10.0)
            reply = client.reply(method == "HEAD")
            self.assertIn(reply.status, (200, 302, 404, 500, 503), (path, data))
            if number % 50 == 0:
                self.successResultOf(self.rig.node.commit())
                json.loads(self.rig.ask("GET", f"/s/status?auth={key}").body)
        self.assertEqual(self.rig.balance(), {})
        self.assertEqual(self.flushLoggedErrors(), [])
        self.rig.close()
        self.rig = Rig(self.folder, self.clock, CONFIG)
        json.loads(self.rig.ask("GET", f"/s/status?auth={key}").body)

    def test_datagrams(self) -> None:
        good = [f"{KEYS.key('u')}:p:s:5c", f"{KEYS.first_key('u')}:p:s.t:-12ms!", "x:y:z:1g"]
        taken = 0
        for _ in range(CASES):
            lines = [self.damaged(self.dice.choice(good).encode()) for _ in range(self.dice.randint(1, 3))]
            found, bad = read_datagrams(b"\n".join(lines), KEYS)
            self.rig.node.values(found)
            taken += len(found)
            self.assertTrue(all(each.excerpt for each in bad))
        self.rig.node.push()
        self.assertEqual(self.rig.balance(), {})
        self.assertEqual(self.rig.node.values_account.received, taken)
        self.assertGreater(taken, CASES // 10)
