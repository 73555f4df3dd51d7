"""The Config's own small methods."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener


class ListenerTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        cases = {
            "tcp:127.0.0.1:2003": Listener(protocol="line", interface="127.0.0.1", port=2003),
            "udp:[::1]:2003": Listener(protocol="line", transport="udp", interface="::1", port=2003),
            "unix:/run/x": Listener(protocol="line", transport="unix", path="/run/x"),
            "systemd:index=0": Listener(protocol="http", transport="endpoint", endpoint="systemd:index=0"),
        }
        self.assertEqual([listener.address for listener in cases.values()], list(cases))

    def test_frozen(self) -> None:
        listener = Listener(protocol="line", port=1)
        self.assertRaises(AttributeError, setattr, listener, "port", 2)


class ConfigTests(SynchronousTestCase):
    def test_listeners_of_a_protocol(self) -> None:
        one, two = Listener(protocol="line", port=1), Listener(protocol="http", port=2)
        config = Config(listeners=(one, two))
        self.assertEqual(config.listeners_of("http"), (two,))
        self.assertEqual(config.listeners_of("pickle"), ())
