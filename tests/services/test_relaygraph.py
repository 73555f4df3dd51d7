"""What of the configuration reaches the queue of a destination."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.relaymodel import DestinationConfig, QueueConfig, WindowPlace
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.services.relaygraph import limits_of


class LimitTests(SynchronousTestCase):
    def test_the_defaults_are_those_of_a_queue(self) -> None:
        self.assertEqual(limits_of(DestinationConfig(name="a", host="h", port=1)), QueueLimits())

    def test_the_window_is_where_the_configuration_says(self) -> None:
        places: dict[WindowPlace, bool] = {"file": True, "memory": False}
        for place, in_file in places.items():
            queue = QueueConfig(resend_window_s=2.0, resend_window_bytes=1 << 20, resend_window_in=place)
            limits = limits_of(DestinationConfig(name="a", host="h", port=1, queue=queue))
            self.assertEqual((limits.window_s, limits.window_bytes, limits.window_in_file), (2.0, 1 << 20, in_file))

    def test_datagrams_have_none(self) -> None:
        limits = limits_of(DestinationConfig(name="a", transport="udp", host="h", port=1))
        self.assertEqual((limits.window_s, limits.window_bytes), (0.0, 0))
