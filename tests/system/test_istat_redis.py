"""Settings of counter daemons in a real Redis."""

from __future__ import annotations

from tests.system.case import SystemTestCase
from tests.system.counterd import Counterd
from tests.system.redisd import RedisServer


class RedisSettingsTests(SystemTestCase):
    def test_daemons_share_settings_in_redis(self) -> None:
        self.needs("redis-server")
        redis = self.started(RedisServer(self.folder / "redis", password="s3cret/+"))
        url = f"redis://:s3cret%2F%2B@127.0.0.1:{redis.port}/2"
        one, two = (Counterd(name, self.folder / name, {"settings": url}) for name in ("one", "two"))
        self.started(one)
        values = {"dashboard.a": "007", "dashboard.b": '{"x":"\u00fc%_\\\\"}', "other": "1.0"}
        self.assertEqual(one.post("/?s=me", values), {"success": True})
        self.started(two)
        self.assertEqual(two.get("/?s=me"), values)
        self.assertEqual(sorted(two.get("/?s=me&sk=dashboard.*")), ["dashboard.a", "dashboard.b"])
        two.post("/?s=me", {"other": "", "new": 3})
        self.assertEqual(one.get("/?s=me&sk=*e*"), {"new": "3"})
        self.assertRaises(OSError, one.get, "/?s=nobody")
        one.stop()
        one.start()
        self.assertEqual(sorted(one.get("/?s=me")), ["dashboard.a", "dashboard.b", "new"])

    def test_a_redis_that_is_away_is_told_and_comes_back(self) -> None:
        self.needs("redis-server")
        redis = RedisServer(self.folder / "redis")
        one = self.started(Counterd("one", self.folder / "one", {"settings": redis.url}))
        with self.assertRaises(OSError) as refused:
            one.get("/?s=me")
        self.assertIn(f"redis://127.0.0.1:{redis.port}/0", str(refused.exception))
        self.assertNotIn("Traceback", one.tail())
        self.started(redis)
        self.assertEqual(one.until("Redis is found", lambda: self.put(one)), {"success": True})
        self.assertEqual(one.get("/?s=me"), {"a": "1"})

    @staticmethod
    def put(daemon: Counterd) -> object:
        try:
            return daemon.post("/?s=me", {"a": "1"})
        except OSError:
            return None
