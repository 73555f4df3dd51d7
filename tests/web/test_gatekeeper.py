"""Who may ask."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.web.gatekeeper import Gatekeeper
from tests.web.test_site import make
from tests.web.wire import ask

HASHED = "sha256:" + sha256(b"secret").hexdigest()


def basic(text):
    return "Basic " + b64encode(text.encode()).decode()


class GatekeeperTests(SynchronousTestCase):
    def test_everybody(self):
        self.assertTrue(Gatekeeper().is_open)
        self.assertTrue(Gatekeeper().admits(None))

    def test_names_with_passwords(self):
        keeper = Gatekeeper(["me:se:cret", "ü:ä", f"other:{HASHED}"])
        self.assertFalse(keeper.is_open)
        for told in ("me:se:cret", "ü:ä", "other:secret"):
            self.assertTrue(keeper.admits(basic(told)), told)
        self.assertTrue(keeper.admits("bAsIc  " + basic("me:se:cret")[6:] + " "))
        for told in ("me:", "me", "", ":", "you:se:cret", "me:secret", f"other:{HASHED}"):
            self.assertFalse(keeper.admits(basic(told)), told)
        bare = basic("me:se:cret").removeprefix("Basic ")
        for header in (None, "", "Basic", "Basic !!!", "Basic /w==", "Bearer se:cret", "Digest x", bare):
            self.assertFalse(keeper.admits(header), header)

    def test_tokens(self):
        keeper = Gatekeeper(tokens=["open", HASHED])
        self.assertTrue(keeper.admits("Bearer open"))
        self.assertTrue(keeper.admits("bearer secret"))
        for header in (None, "Bearer", "Bearer ", "Bearer " + HASHED, "Bearer opens", basic("open:open"), "open"):
            self.assertFalse(keeper.admits(header), header)

    def test_a_digest_that_is_none(self):
        for secret in ("sha256:", "sha256:00", "sha256:xyz"):
            self.assertRaises(ValueError, Gatekeeper, [f"me:{secret}"])
            self.assertRaises(ValueError, Gatekeeper, (), [secret])


class DoorTests(SynchronousTestCase):
    def ask(self, path, method="GET", **headers):
        site, clock = make(gatekeeper=Gatekeeper(["me:secret"]), cors=("*",))
        return ask(site, clock, method, path, [("query", "*")], headers)

    def test_strangers_learn_nothing(self):
        for path in ("/", "/metrics/find", "/render", "/metrics", "/ledger", "/nosuch"):
            reply = self.ask(path)
            self.assertEqual((reply.status, reply.body), (401, b"Who are you?\n"))
            self.assertIn("Basic realm=", reply.headers["www-authenticate"])
        self.assertEqual(self.ask("/metrics/find", Authorization=basic("me:wrong")).status, 401)

    def test_who_is_known_may_ask(self):
        self.assertEqual(self.ask("/metrics/find", Authorization=basic("me:secret")).status, 200)
        self.assertEqual(self.ask("/nosuch", Authorization=basic("me:secret")).status, 404)

    def test_probes_and_preflights_need_no_password(self):
        self.assertEqual([self.ask(path).status for path in ("/healthz", "/readyz")], [200, 200])
        preflight = {"Origin": "http://a", "Access-Control-Request-Method": "GET"}
        self.assertEqual(self.ask("/render", "OPTIONS", **preflight).status, 200)
