"""Who may ask over HTTP, in a configuration."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.checks import faults
from cadtwist.config.model import Config, WebConfig


class WebTests(SynchronousTestCase):
    def told(self, **web):
        return list(faults(Config(web=WebConfig(**web))))

    def test_good(self):
        self.assertEqual(self.told(users=("me:x", "you:sha256:" + "0a" * 32), tokens=("t", "sha256:" + "0A" * 32)), [])

    def test_bad(self):
        for user in ("me", "me:", ":x", "me:sha256:00"):
            ((place, text),) = self.told(users=("a:b", user))
            self.assertEqual(place, ("web", "users"))
            self.assertNotIn("00", text)
        for token in ("", "sha256:zz"):
            self.assertEqual([place for place, _ in self.told(tokens=(token,))], [("web", "tokens")])
