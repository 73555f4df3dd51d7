"""Compressed whisper files."""

from __future__ import annotations

import gzip
import os

import numpy as np
import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore

NOW = 1_700_000_000 // 60 * 60


class ZippedTests(SynchronousTestCase):
    def setUp(self):
        self.root = self.mktemp()
        os.makedirs(os.path.join(self.root, "a"))
        self.file = os.path.join(self.root, "a", "b.wsp")
        whisper.create(self.file, [(60, 10)])
        whisper.update_many(self.file, [(NOW - 60, 1.0), (NOW, 2.0)], now=NOW)
        self.store = WhisperStore(self.root, SchemaTable())
        self.plain = self.store.fetch("a.b", NOW - 300, NOW, NOW)

    def zip(self, data=None):
        with open(self.file, "rb") as file:
            zipped = gzip.compress(file.read()) if data is None else data
        with open(self.file + ".gz", "wb") as file:
            file.write(zipped)
        os.unlink(self.file)

    def test_it_is_read_like_the_file(self):
        self.zip()
        found = self.store.fetch("a.b", NOW - 300, NOW, NOW)
        np.testing.assert_array_equal(found.values, self.plain.values)
        self.assertEqual((found.start, found.end, found.step), (self.plain.start, self.plain.end, self.plain.step))
        self.assertEqual(list(self.store.walk()), [["a.b"]])
        self.assertIsNone(self.store.fetch("a.no", NOW - 300, NOW, NOW))

    def test_a_file_beside_it_wins(self):
        self.zip(b"not read")
        whisper.create(self.file, [(60, 10)])
        self.assertTrue(np.isnan(self.store.fetch("a.b", NOW - 300, NOW, NOW).values).all())

    def test_damage_is_told(self):
        with open(self.file, "rb") as file:
            good = gzip.compress(file.read())
        for data in (b"no gzip at all", good[:40], good[:-5] + b"12345", gzip.compress(b"no whisper")):
            self.zip(data)
            with self.assertRaises(StorageError):
                self.store.fetch("a.b", NOW - 300, NOW, NOW)
            whisper.create(self.file, [(60, 10)])
