"""Tests of `cadtwist.client.core` and `cadtwist.client.settings`."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.client.core import Backoff, Core
from cadtwist.client.settings import ClientSettings, client_settings
from cadtwist.codec.dattss import Datagram, DattssKeys, read_datagrams
from tests.client.fakes import AUTH, SETTINGS
from tests.model.test_partial import recording


class CoreTests(SynchronousTestCase):
    def test_what_is_sent_is_what_the_original_sends(self) -> None:
        recorded = recording("client_put")
        core = Core(ClientSettings(auth=AUTH))
        for path, value in recorded["calls"]:
            core.agg(path, value)
        _, body = core.take()
        sent = json.loads(body)["prt"]
        wanted = recorded["requests"][1]["body"]["prt"]
        self.assertEqual(list(sent), ["c", "g", "ms"])
        for kind, partials in wanted.items():
            mine = {each["pth"]: each for each in sent[kind]}
            for recorded_partial in partials:
                path = recorded_partial["pth"]
                if path == "bang!path":  # a path that makes the server refuse the whole
                    self.assertNotIn(path, mine)
                    continue
                if path == "z":  # the original takes 0 for nothing
                    recorded_partial |= {"min": 0, "fst": 0}
                self.assertEqual(mine[path], recorded_partial)
        self.assertIn("col:on", {each["pth"] for each in sent["c"]})
        self.assertEqual(core.refused, 6)

    def test_an_empty_period(self) -> None:
        self.assertEqual(json.loads(Core(SETTINGS).take()[1]), {"prt": {"c": [], "g": [], "ms": []}})

    def test_agg_never_raises(self) -> None:
        core = Core(SETTINGS)
        long = "9" * 99 + "c"
        for path, value in ((None, "1c"), ("a", None), ("a", 5), (b"a", b"1c"), ("a" * 2000, "1c"), ("a", long)):
            self.assertFalse(core.agg(path, value))  # type: ignore[arg-type]
        self.assertEqual(core.refused, 6)

    def test_a_server_that_is_away_costs_nothing_within_the_bound(self) -> None:
        core = Core(ClientSettings(most_paths=2))
        for number in range(50):
            core.agg("a", f"{number}c")
            core.agg("b", "1ms!")
            partials, _ = core.take()
            self.assertFalse(core.settle(partials, (None, 500, 503)[number % 3]))
        partials, _ = core.take()
        self.assertEqual([(each.pth, each.sum, each.cnt, each.emp) for each in partials],
                         [("a", sum(range(50)), 50, False), ("b", 50, 50, True)])  # fmt: skip
        core.agg("c", "1c")
        core.agg("d", "1c")
        self.assertFalse(core.settle(partials, None))
        self.assertEqual((core.lost, core.failures), (100, 51))
        again, _ = core.take()
        self.assertTrue(core.settle(again, 200))
        self.assertEqual(core.sent, 2)

    def test_datagrams(self) -> None:
        core = Core(SETTINGS)
        found, bad = read_datagrams(core.datagram("a.b", "-5ms!x") or b"", DattssKeys("secret"))
        self.assertEqual((found, bad), ([Datagram("user1", "web.a.b", -5, "ms", True)], []))
        for path, value in (("a:b", "1c"), ("a b", "1c"), ("a", "c"), (None, "1c"), ("a", None)):
            self.assertIsNone(core.datagram(path, value))  # type: ignore[arg-type]
        self.assertIn(b":noname:", Core(ClientSettings()).datagram("a", "1c") or b"")

    def test_processes(self) -> None:
        core = Core(SETTINGS)
        self.assertEqual(json.loads(core.poll_body()), {"auth": AUTH, "process": "web"})
        self.assertEqual([core.kills(text) for text in (f"{AUTH}-web".encode(), f"{AUTH}-other".encode(), b"")],
                         [True, False, False])  # fmt: skip
        self.assertEqual([Core(ClientSettings(process=name)).polls for name in ("web", "", "  ")], [True, False, False])

    def test_keys_are_quoted(self) -> None:
        self.assertEqual(Core(ClientSettings(auth="a&b=c d")).put_path, "/agg?auth=a%26b%3Dc%20d")

    def test_debugging_tells(self) -> None:
        told: list[str] = []
        core = Core(ClientSettings(debug=True), told.append)
        core.agg("a b", "1c")
        core.settle(core.take()[0], 503)
        core.settle(core.take()[0], 200)
        self.assertEqual(told, ["dattss: refused: 'a b' '1c'", "dattss: not sent: 503; 0 paths are kept",
                                "dattss: sent 0 partials"])  # fmt: skip


class BackoffTests(SynchronousTestCase):
    def test_longer_each_time(self) -> None:
        backoff = Backoff()
        self.assertEqual([backoff.after(False) for _ in range(6)], [1, 2, 4, 8, 16, 16])
        self.assertEqual([backoff.after(True), backoff.after(False)], [0.1, 1])


class SettingsTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        settings = client_settings({})
        self.assertEqual((settings.auth, settings.http_host, settings.http_port, settings.push_period_s,
                          settings.percentile), ("dummy-env", "v2.dattss.com", 80, 5.0, 0.1))  # fmt: skip

    def test_environment_then_command_line_then_program(self) -> None:
        environ = {
            "DATTSS_AUTH_KEY": "env", "DATTSS_SERVER_HTTP_HOST": "env", "DATTSS_SERVER_HTTP_PORT": "3002",
            "DATTSS_PUSH_PERIOD": "2.5", "DATTSS_PERCENTILE": "0.05", "DATTSS_DEBUG": "true", "OTHER": "x",
        }  # fmt: skip
        argv = ["prog", "--DATTSS_SERVER_HTTP_HOST=arg", "--DATTSS_AUTH_KEY=arg", "--x=y", "DATTSS_PERCENTILE=7"]
        settings = client_settings(environ, argv, auth="given", process="p")
        self.assertEqual(
            settings,
            ClientSettings(auth="given", http_host="arg", http_port=3002, push_period_s=2.5, percentile=0.05,
                           debug=True, process="p"),
        )  # fmt: skip
        self.assertFalse(client_settings({"DATTSS_DEBUG": "false"}).debug)

    def test_faults(self) -> None:
        for name, value in (("DATTSS_PUSH_PERIOD", "x"), ("DATTSS_PUSH_PERIOD", "0"), ("DATTSS_PUSH_PERIOD", "nan"),
                            ("DATTSS_PERCENTILE", "2"), ("DATTSS_SERVER_HTTP_PORT", "1.5"),
                            ("DATTSS_SERVER_UDP_PORT", "70000")):  # fmt: skip
            self.assertRaises(ValueError, client_settings, {name: value})
