"""What the disk says of files and folders."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.storage.facts import disk_space


class SpaceTests(SynchronousTestCase):
    def test_a_folder_that_is_still_to_be_made(self) -> None:
        free, everything = disk_space(os.path.join(self.mktemp(), "storage", "whisper"))
        self.assertEqual(everything, disk_space(os.curdir)[1])
        self.assertLessEqual(free, everything)

    def test_a_file_is_no_folder(self) -> None:
        path = self.mktemp()
        os.symlink("nowhere", path)
        with self.assertRaises(StorageError):
            disk_space(os.path.join(path, "whisper"))
