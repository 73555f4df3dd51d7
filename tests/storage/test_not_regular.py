"""Pipes, sockets, devices and folders in the place of files: nobody waits for them, each is told, the others go on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.kernels.regularfile import NotRegularError, open_regular
from cadtwist.model.series import Series
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.model.writejob import CREATED, QUARANTINED, WRITTEN
from cadtwist.storage.ceres import CeresOptions, CeresStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.statfile import StatFileOptions, StatStore
from cadtwist.storage.whisper import WhisperOptions, WhisperStore
from tests.contracts.test_store import NOW, job
from tests.kernels.statjobs import gauge
from tests.storage.test_statfile import T, stat_job


def unix_socket(path: str) -> None:
    """Leave a socket at a path, of which only the last part may be long."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)


ODDITIES: dict[str, Callable[[str], object]] = {
    "pipe": os.mkfifo,
    "socket": unix_socket,
    "device": lambda path: os.symlink("/dev/null", path),
    "endless device": lambda path: os.symlink("/dev/zero", path),
    "folder": os.mkdir,
}


def replaced(path: str | Path, make: Callable[[str], object]) -> None:
    """Put something else in the place of a file."""
    os.unlink(path)
    make(str(path))


class OpenTests(SynchronousTestCase):
    def test_files_only(self) -> None:
        root = self.mktemp()
        os.mkdir(root)
        for name, make in ODDITIES.items():
            path = os.path.join(root, name)
            make(path)
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                with self.assertRaises(NotRegularError) as caught:
                    open_regular(path, flags)
                self.assertEqual(caught.exception.strerror, "not a regular file")
        self.assertRaises(FileNotFoundError, open_regular, os.path.join(root, "none"))


class WhisperTests(SynchronousTestCase):
    def test_each(self) -> None:
        for name, make in ODDITIES.items():
            schemas, root = SchemaTable(), self.mktemp()
            store = WhisperStore(root, schemas, WhisperOptions(allocation="sparse", max_read_files=4))
            self.addCleanup(store.close)
            both = {"odd": [(NOW, 1.0)], "good": [(NOW, 1.0)]}
            self.assertEqual(store.write(job(schemas, both)).tolist(), [CREATED, CREATED])
            replaced(store.path_of("odd"), make)
            os.mkdir(os.path.join(root, "zipped"))
            make(f"{store.path_of('zipped.odd')}.gz")
            self.assertEqual(store.write(job(schemas, both)).tolist(), [QUARANTINED, WRITTEN], name)
            self.assertEqual([(r.kind, r.name) for r in store.reports()], [("quarantined", "odd")], name)
            self.assertEqual(store.counters()["quarantined"], 1)
            for metric in ("odd", "zipped.odd"):
                self.assertRaises(StorageError, store.fetch, metric, NOW - 60, NOW, NOW)
                found = store.fetch_many([metric, "good"], NOW - 60, NOW, NOW, 100)
                self.assertIsInstance(found[0], StorageError, name)
                self.assertIsInstance(found[1], Series)
            self.assertRaises(StorageError, store.info, "odd")


class CeresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = SchemaTable()
        self.both = {"odd": [(NOW, 1.0)], "good": [(NOW, 1.0)]}

    def store(self) -> CeresStore:
        self.root = self.mktemp()
        store = CeresStore(self.root, self.schemas, CeresOptions(keep_nodes=False))
        self.addCleanup(store.close)
        return store

    def assert_only_the_odd_one_suffers(self, store: CeresStore, name: str) -> None:
        self.assertEqual(store.write(job(self.schemas, self.both)).tolist(), [QUARANTINED, WRITTEN], name)
        self.assertEqual([(r.kind, r.name) for r in store.reports()], [("quarantined", "odd")], name)
        self.assertEqual(store.counters()["quarantined"], 1)
        found = store.fetch("good", NOW, NOW + 60, NOW)
        self.assertEqual(None if found is None else found.values.tolist(), [1.0])

    def test_nodes(self) -> None:
        for name, make in ODDITIES.items():
            store = self.store()
            store.write(job(self.schemas, self.both))
            replaced(Path(self.root) / "odd" / ".ceres-node", make)
            self.assert_only_the_odd_one_suffers(store, name)
            self.assertRaises(StorageError, store.fetch, "odd", NOW, NOW + 60, NOW)
            self.assertRaises(StorageError, store.node, "odd")

    def test_slices(self) -> None:
        for name, make in ODDITIES.items():
            store = self.store()
            store.write(job(self.schemas, self.both))
            (file,) = (Path(self.root) / "odd").glob("*.slice")
            replaced(file, make)
            self.assert_only_the_odd_one_suffers(store, name)
            if name == "folder":
                self.assertRaises(StorageError, store.fetch, "odd", NOW, NOW + 60, NOW)
            else:
                self.assertIsNone(store.fetch("odd", NOW, NOW + 60, NOW), "it has no bytes, thus no points")


class StatFileTests(SynchronousTestCase):
    def test_each(self) -> None:
        for name, make in ODDITIES.items():
            retentions = parse_stat_retentions("10s:1h,5m:2h")
            store = StatStore(self.mktemp(), retentions, StatFileOptions(sparse=True))
            self.addCleanup(store.close)
            both = {b"odd": [gauge(T, 5.0)], b"good": [gauge(T, 5.0)]}
            store.write(stat_job(both))
            store.close()
            for file in ("10s", "5m"):
                replaced(os.path.join(store.root, "odd", file), make)
            self.assertEqual(store.write(stat_job(both)).tolist(), [QUARANTINED, WRITTEN], name)
            self.assertIn(("quarantined", "odd"), [(r.kind, r.name) for r in store.reports()], name)
            self.assertIsNone(store.is_event(b"odd"))
            self.assertEqual([found for some in store.walk() for found in some], [(b"good", False)])
            if name == "socket":
                self.assertRaises(StorageError, store.reader, b"odd")
            else:
                with store.reader(b"odd") as reader:
                    self.assertEqual(reader.headers(), [None, None], name)
            with store.reader(b"good") as reader:
                self.assertEqual(reader.cells(0, 0, 1)["sum"].tolist(), [10.0])
