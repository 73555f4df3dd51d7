"""The folder of state that nobody named."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.statefolder import state_folder


class FolderTests(SynchronousTestCase):
    def test_systemd_then_root_then_the_user(self) -> None:
        self.assertEqual(state_folder({"STATE_DIRECTORY": "/a:/b"}, "s", 5), "/a/s")
        self.assertEqual(state_folder({"HOME": "/h"}, "s", 0), "/var/lib/cadtwist/s")
        self.assertEqual(state_folder({"HOME": "/h"}, "s", 5), "/h/.local/state/cadtwist/s")
        self.assertEqual(state_folder({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "s", 5), "/x/cadtwist/s")
