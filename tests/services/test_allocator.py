"""Settings of the allocator."""

from __future__ import annotations

import platform

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.allocator import settle_allocator


class AllocatorTests(SynchronousTestCase):
    """glibc takes them, others are left alone."""

    def test_glibc_takes_the_settings(self) -> None:
        self.assertEqual(settle_allocator(), platform.libc_ver()[0] == "glibc")
