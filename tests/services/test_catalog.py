"""How the catalog is fed, and kept."""

from __future__ import annotations

import os

import numpy as np
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.catalog import Catalog
from cadtwist.services.catalog import CatalogKeeper
from cadtwist.storage.catalogfile import CatalogFile
from cadtwist.telemetry import Telemetry


def blob_of(*names):
    return b"".join(names), np.cumsum([0, *map(len, names)]).astype(np.uint32)


class KeeperTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.path = os.path.join(self.mktemp(), "catalog.sqlite")
        self.account = Telemetry().account("catalog")

    def keeper(self, file=None, read=maybeDeferred):
        self.catalog = Catalog()
        return CatalogKeeper(self.clock, self.catalog, file, self.account, read)

    def turns(self, n):
        for _ in range(n):
            self.clock.advance(0)

    def test_names_are_taken_in_later_turns(self):
        keeper = self.keeper()
        keeper.startService()
        keeper.met(*blob_of(b"plain", *(b"m;host=%d" % number for number in range(1000))))
        keeper.met(*blob_of(b"plain"))
        self.assertEqual(len(self.catalog.tags), 0)
        self.turns(200)
        self.assertEqual(len(self.catalog.tags), 1000)
        keeper.met(*blob_of(b"late;host=1"))
        self.turns(3)
        self.assertEqual(self.catalog.answer("series", [["name=late"]]), ["late;host=1"])

    def test_a_start_knows_what_was_kept(self):
        file = CatalogFile(self.path)
        keeper = self.keeper(file)
        keeper.startService()
        keeper.met(*blob_of(*(b"m;host=%d" % number for number in range(500))))
        self.turns(100)
        self.catalog.answer("new event", [5, "w", ["t"], "d"])
        self.catalog.answer("remove", [["m;host=7"]])
        file.flush()
        self.keeper(CatalogFile(self.path)).startService()
        self.turns(100)
        self.assertEqual(len(self.catalog.tags), 499)
        self.assertEqual(self.catalog.answer("events", [0, 9, [], ""]), [(5, 1, "w", ("t",), "d")])
        self.assertEqual(CatalogFile(self.path).flush(), 0, "what is restored is not written again")

    def test_a_damaged_file_is_told_and_set_aside(self):
        os.makedirs(os.path.dirname(self.path))
        with open(self.path, "wb") as file:
            file.write(b"x" * 5000)
        self.keeper(CatalogFile(self.path)).startService()
        self.turns(10)
        self.assertTrue(os.path.exists(self.path + ".damaged"))
        self.assertEqual(len(self.catalog.tags), 0)

    def test_names_that_come_while_the_file_is_read(self):
        file = CatalogFile(self.path)
        file.keep("old;a=1")
        file.flush()
        reading = Deferred()
        keeper = self.keeper(CatalogFile(self.path), lambda work: reading)
        keeper.startService()
        keeper.met(*blob_of(b"new;a=1"))
        self.turns(3)
        reading.callback(([["old;a=1"]], []))
        self.turns(5)
        self.assertEqual(self.catalog.answer("series", [["a=1"]]), ["new;a=1", "old;a=1"])
