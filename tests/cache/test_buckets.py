from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.buckets import TokenBucket


class TokenBucketTests(SynchronousTestCase):
    def test_fills_at_its_rate_up_to_its_capacity(self) -> None:
        bucket = TokenBucket(2.0, 5.0, 0.0)
        bucket.spend(5)
        self.assertEqual([bucket.available(now, 99) for now in (0.0, 0.4, 0.5, 1.0, 60.0)], [0, 0, 1, 2, 5])
        self.assertEqual(bucket.available(60.0, 3), 3)

    def test_tells_how_long_to_wait(self) -> None:
        bucket = TokenBucket(2.0, 5.0, 0.0)
        self.assertEqual(bucket.wait_s(), 0.0)
        bucket.spend(5)
        self.assertEqual((bucket.wait_s(), bucket.wait_s(3)), (0.5, 1.5))

    def test_infinite_and_nothing(self) -> None:
        free = TokenBucket(math.inf, math.inf, 0.0)
        free.spend(10**9)
        self.assertEqual((free.available(0.0, 7), free.wait_s()), (7, 0.0))
        shut = TokenBucket(0.0, 0.0, 0.0)
        self.assertEqual((shut.available(1e9, 7), shut.wait_s()), (0, math.inf))

    def test_a_clock_that_goes_back_gives_nothing(self) -> None:
        bucket = TokenBucket(1.0, 9.0, 100.0)
        bucket.spend(9)
        self.assertEqual([bucket.available(now, 9) for now in (50.0, 52.0)], [0, 2])
