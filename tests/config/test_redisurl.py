"""Addresses of a Redis."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.redisurl import RedisAddress, parse_redis_url


class UrlTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for text, expected in (
            ("redis://localhost", RedisAddress("localhost")),
            ("redis://localhost:1234/7", RedisAddress("localhost", 1234, 7)),
            ("redis://[::1]:1/", RedisAddress("::1", 1)),
            ("redis://:p%40ss@h/2", RedisAddress("h", 6379, 2, "", "p@ss")),
            ("redis://me:secret@h", RedisAddress("h", 6379, 0, "me", "secret")),
        ):
            self.assertEqual(parse_redis_url(text), expected)

    def test_what_is_none(self) -> None:
        wrong = (
            "http://x", "redis://", "redis://h:0", "redis://h:99999", "redis://h/x", "redis://h/1/2", "redis://h?db=1",
            "redis://h/-1", "redis://h/99999999", "redis://[::1", "redis://h/\u0663",
        )  # fmt: skip
        for text in wrong:
            with self.assertRaises(ValueError, msg=text):
                parse_redis_url(text)

    def test_a_password_is_not_shown(self) -> None:
        self.assertEqual(parse_redis_url("redis://me:secret@[::1]/3").shown, "redis://[::1]:6379/3")
        with self.assertRaises(ValueError) as caught:
            parse_redis_url("redis://me:secret@h/x")
        self.assertNotIn("secret", str(caught.exception))
