from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import StorageConfig
from cadtwist.services.stores import reading_store, stored_roots, writing_store
from cadtwist.storage.ceres import CeresStore
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.merged import MergedStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from tests.contracts.test_store import NOW, job


class StoresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = self.mktemp()

    def kinds(self, **options: object) -> list[tuple[type, str]]:
        store = reading_store(StorageConfig(root=self.root, **options))
        stores = store.stores if isinstance(store, MergedStore) else [store]
        return [(type(one), getattr(one, "root", "")) for one in stores]

    def test_one_of_each_kind(self) -> None:
        here = os.path.abspath(self.root)
        self.assertEqual(self.kinds(kind="memory"), [(MemoryStore, "")])
        self.assertEqual(self.kinds(), [(WhisperStore, here)])
        self.assertEqual(self.kinds(kind="ceres"), [(CeresStore, here), (WhisperStore, here)])

    def test_what_a_folder_holds_of_the_other_kind_is_read(self) -> None:
        here = os.path.abspath(self.root)
        os.makedirs(os.path.join(self.root, ".ceres-tree"))
        self.assertEqual(self.kinds(), [(WhisperStore, here), (CeresStore, here)])

    def test_more_folders(self) -> None:
        here, other = os.path.abspath(self.root), os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(other, ".ceres-tree"))
        expected = [(WhisperStore, here), (CeresStore, other), (WhisperStore, other), (WhisperStore, "/old")]
        self.assertEqual(self.kinds(read_also=(other, "/old")), expected)
        self.assertEqual(stored_roots(StorageConfig(root=here, read_also=(other,))), (here, other))
        self.assertEqual(stored_roots(StorageConfig(kind="memory", read_also=(other,))), ())

    def test_options_of_ceres(self) -> None:
        storage = StorageConfig(
            kind="ceres",
            root=self.root,
            autoflush=True,
            ceres_max_slice_gap=0,
            ceres_node_caching="none",
            ceres_slice_caching="none",
            ceres_lock_writes=True,
        )
        schemas = SchemaTable()
        store = writing_store(storage, schemas, 2)
        for when in (NOW, NOW + 120):
            store.write(job(schemas, {"a": [(when, 1.0)]}))
        self.assertEqual(store.counters()["slices"], 2)
        self.assertEqual(store.counters()["reused"], 0)
