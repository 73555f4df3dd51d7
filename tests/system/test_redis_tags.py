"""Tags of several caches in one real Redis."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from tests.system.cadtwistd import Cadtwistd, get
from tests.system.case import SystemTestCase
from tests.system.redisd import RedisServer
from tests.system.test_reader import Reader


class RedisTagsTests(SystemTestCase):
    def find(self, daemon: Cadtwistd, expression: str) -> Any:
        return json.loads(get(f"http://127.0.0.1:{daemon.http}/tags/findSeries?expr={expression}"))

    def test_caches_share_their_tags(self) -> None:
        self.needs("redis-server")
        redis = self.started(RedisServer(self.folder / "redis"))
        options = {"TAGDB": f"{redis.url}/1"}
        one = self.started(Cadtwistd(self.folder / "one", options))
        now = int(time.time())
        lines = "".join(f"disk;host=h{number};dc=a {number} {now}\n" for number in range(20))
        with socket.create_connection(("127.0.0.1", one.line), 10) as connection:
            connection.sendall(lines.encode())
        one.until("series are known", lambda: len(self.find(one, "name=disk")) == 20)
        get(f"http://127.0.0.1:{one.http}/tags/delSeries", b"path=disk;host=h3;dc=a")
        get(f"http://127.0.0.1:{one.http}/tags/tagSeries", b"path=cpu;host=other;dc=b")
        one.stop()
        two = self.started(Cadtwistd(self.folder / "two", options))
        two.until("the other knows them", lambda: len(self.find(two, "host=~.")) == 20)
        self.assertEqual(self.find(two, "dc=b"), ["cpu;dc=b;host=other"])
        self.assertNotIn("disk;dc=a;host=h3", self.find(two, "name=disk"))
        values = json.loads(get(f"http://127.0.0.1:{two.http}/tags/dc"))["values"]
        self.assertEqual([(value["value"], value["count"]) for value in values], [("a", 19), ("b", 1)])
        reader = self.started(Reader(self.folder / "reader", two.conf, f"--logdir={self.folder / 'reader'}"))
        reader.until("a reader knows them", lambda: reader.ask("/tags/findSeries", expr="dc=b"))
        self.assertEqual(reader.ask("/tags/findSeries", expr="name=disk"), self.find(two, "name=disk"))
