"""The small methods of the relay's part of the model."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.relaymodel import DestinationConfig


class DestinationTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        cases = {
            "tcp://10.0.0.1:2004": DestinationConfig(name="a", host="10.0.0.1", port=2004),
            "udp://[::1]:8125": DestinationConfig(name="b", transport="udp", host="::1", port=8125),
            "unix:///run/x": DestinationConfig(name="c", transport="unix", path="/run/x"),
            "https://h/in": DestinationConfig(name="d", transport="http", path="https://h/in"),
        }
        self.assertEqual([destination.address for destination in cases.values()], list(cases))
