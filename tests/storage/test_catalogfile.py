"""The catalog's file."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.storage.catalogfile import CatalogFile

EVENT = (7, 1, "what", ("a", "b"), "data")


class CatalogFileTests(SynchronousTestCase):
    def setUp(self):
        self.path = os.path.join(self.mktemp(), "deep", "catalog.sqlite")
        self.file = CatalogFile(self.path)

    def kept(self):
        again = CatalogFile(self.path)
        return sorted(name for some in again.names() for name in some), [row for some in again.events() for row in some]

    def test_what_is_kept_is_there_again(self):
        self.assertEqual((self.kept(), self.file.exists(), self.file.flush()), (([], []), False, 0))
        for number in range(2500):
            self.file.keep(f"m;host={number:04}")
        self.file.keep_event(EVENT)
        self.file.drop("m;host=0001")
        self.assertEqual(self.file.flush(), 2501)
        names, events = self.kept()
        self.assertEqual((len(names), events), (2499, [EVENT]))
        self.file.drop("m;host=0002")
        self.file.keep("m;host=0001")
        self.file.keep("ü;a=\udc80")
        self.file.flush()
        self.assertEqual(self.kept()[0][:3], ["m;host=0000", "m;host=0001", "m;host=0003"])
        self.assertEqual(len(self.kept()[0]), 2500)

    def test_a_failing_disk_loses_nothing(self):
        with open(os.path.dirname(os.path.dirname(self.path)), "w"):
            pass
        self.file.keep("a;b=1")
        self.file.keep_event(EVENT)
        for _ in range(2):
            with self.assertRaises(StorageError):
                self.file.flush()
        os.unlink(os.path.dirname(os.path.dirname(self.path)))
        self.assertEqual(self.file.flush(), 2)
        self.assertEqual(self.kept(), (["a;b=1"], [EVENT]))

    def test_a_damaged_file_is_set_aside(self):
        os.makedirs(os.path.dirname(self.path))
        with open(self.path, "wb") as file:
            file.write(b"no database at all" * 100)
        with self.assertRaises(StorageError):
            self.kept()
        self.assertEqual(self.file.set_aside(), self.path + ".damaged")
        self.file.keep("a;b=1")
        self.file.flush()
        self.assertEqual(self.kept(), (["a;b=1"], []))
        os.unlink(self.path)
        with self.assertRaises(StorageError):
            self.file.set_aside()
