from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.errors import StorageError, TooManyPointsError
from cadtwist.interfaces import IBulkReader, IFileStore
from cadtwist.model.filefacts import Retention
from cadtwist.model.series import Series
from cadtwist.storage.ceres import CeresStore
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.merged import MergedStore, merged
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from tests.contracts.test_store import NOW, job

NAN = float("nan")


VALUES = st.lists(st.sampled_from([1.0, 2.0, NAN]), min_size=1, max_size=6)
SERIES = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 2, 5]), VALUES), min_size=1, max_size=4)


def series(start: int, step: int, *values: float, method: str = "average") -> Series:
    return Series("a", start, start + step * len(values), step, np.array(values, np.float64), method)


class MergedTests(SynchronousTestCase):
    def check(self, found: Series, start: int, step: int, *values: float) -> None:
        np.testing.assert_array_equal(found.values, values)
        self.assertEqual((found.start, found.step, found.end), (start, step, start + step * len(values)))

    def test_the_first_wins_where_both_know(self) -> None:
        both = merged([series(60, 60, 1.0, NAN, 3.0), series(60, 60, 4.0, 5.0, NAN, 6.0)])
        self.check(both, 60, 60, 1.0, 5.0, 3.0, 6.0)

    def test_the_files_of_all(self) -> None:
        schemas, root, other = SchemaTable(), self.mktemp(), self.mktemp()
        stores = WhisperStore(root, schemas), CeresStore(other, schemas)
        store = MergedStore(MemoryStore(schemas), *stores)
        self.assertTrue(verifyObject(IFileStore, store))
        for one in stores:
            self.assertTrue(verifyObject(IFileStore, one))
            self.assertIsNone(one.facts("a.b"))
            one.write(job(schemas, {"a.b": [(NOW, 1.0)], "m;t=1": [(NOW, 1.0)]}))
        for name in ("a.b", "m;t=1"):
            sizes = [one.facts(name).size for one in stores]  # type: ignore[union-attr]
            found = store.facts(name)
            assert found is not None
            self.assertEqual((found.size, len(sizes)), (sum(sizes), 2))
            self.assertGreater(found.changed, NOW - 1)
        self.assertIsNone(store.facts("none"))
        self.assertEqual(store.retained("a.b"), Retention(((60, 7 * 1440),), "average", 0.5))
        self.assertEqual([one.retained("a.b") for one in (*stores[1:], MergedStore(stores[1]))], [None, None])
        self.assertIsNone(store.retained("none"))
        self.assertEqual(store.space()[1], stores[0].space()[1])
        self.assertEqual(MergedStore(MemoryStore(schemas)).space(), (0, 0))
        self.assertEqual(WhisperStore(root + "x", schemas).space()[1], store.space()[1], "where it will be")

    def test_the_finer_wins_whichever_comes_first(self) -> None:
        both = merged([series(0, 60, 1.0, 2.0, method="sum"), series(60, 20, NAN, 7.0, 8.0)])
        self.check(both, 0, 20, 1.0, 1.0, 1.0, 2.0, 7.0, 8.0)
        self.assertEqual(both.consolidation, "sum")

    def test_one_alone_is_as_it_is(self) -> None:
        one = series(0, 60, 1.0)
        self.assertIs(merged([one]), one)

    def test_steps_that_do_not_fit(self) -> None:
        both = merged([series(30, 60, 1.0), series(0, 40, 5.0, 6.0, 7.0)])
        self.check(both, 0, 40, 5.0, 6.0, 7.0)

    def test_too_many_points(self) -> None:
        self.assertRaises(ValueError, merged, [series(0, 1, 1.0), series(1 << 40, 60, 1.0)])

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(SERIES)
    def test_each_slot_by_itself(self, made: list[tuple[int, int, list[float]]]) -> None:
        found = [series(start, step, *values) for start, step, values in made]
        whole = merged(found)
        self.assertLessEqual(whole.start, min(one.start for one in found))
        self.assertGreaterEqual(whole.end, max(one.end for one in found))
        for row, value in enumerate(whole.values.tolist()):
            at = whole.start + row * whole.step
            known = [
                float(one.values[(at - one.start) // one.step])
                for one in sorted(found, key=lambda one: one.step)
                if one.start <= at < one.end
            ]
            expected = next((one for one in known if one == one), NAN)
            self.assertEqual(str(value), str(expected))


class MergedStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = SchemaTable()
        self.root = self.mktemp()
        self.ceres, self.whisper = CeresStore(self.root, self.schemas), WhisperStore(self.root, self.schemas)
        self.store = MergedStore(self.ceres, self.whisper)
        self.addCleanup(self.whisper.close)
        self.whisper.write(job(self.schemas, {"a": [(NOW - 120, 1.0), (NOW - 60, 2.0)], "old": [(NOW, 9.0)]}))
        self.store.write(job(self.schemas, {"a": [(NOW - 60, 3.0), (NOW, 4.0)], "new": [(NOW, 8.0)]}))

    def test_is_a_store(self) -> None:
        self.assertTrue(verifyObject(IBulkReader, self.store))

    def test_points_of_both_kinds(self) -> None:
        found = self.store.fetch("a", NOW - 180, NOW + 60, NOW)
        np.testing.assert_array_equal(found.values[1:4], [1.0, 3.0, 4.0])
        self.assertEqual(found.start, NOW - 180)
        for name, value in (("old", 9.0), ("new", 8.0)):
            self.assertEqual(np.nansum(self.store.fetch(name, NOW - 60, NOW + 60, NOW).values), value)
        self.assertIsNone(self.store.fetch("none", NOW - 60, NOW, NOW))

    def test_many_at_once(self) -> None:
        names = ["a", "old", "none", "new"]
        many = self.store.fetch_many(names, NOW - 180, NOW + 60, NOW, 100)
        for name, found in zip(names, many, strict=True):
            alone = self.store.fetch(name, NOW - 180, NOW + 60, NOW)
            self.assertEqual(found is None, alone is None)
            if alone is not None:
                np.testing.assert_array_equal(found.values, alone.values)
                self.assertEqual((found.name, found.start, found.step), (alone.name, alone.start, alone.step))
        self.assertRaises(TooManyPointsError, self.store.fetch_many, names, NOW - 180, NOW + 60, NOW, 8)
        self.assertRaises(ValueError, self.store.fetch_many, names, NOW, NOW - 1, NOW, 100)

    def test_names_of_both_kinds(self) -> None:
        self.assertEqual(sorted(name for names in self.store.walk(2) for name in names), ["a", "a", "new", "old"])
        self.assertEqual([self.store.exists(name) for name in ("a", "old", "new", "none")], [True, True, True, False])

    def test_deleting(self) -> None:
        self.assertTrue(self.store.delete("a"))
        self.assertFalse(self.store.exists("a"))
        self.assertFalse(self.store.delete("a"))

    def test_properties_of_what_is_there(self) -> None:
        self.assertEqual(self.store.get_metadata("old", "aggregationMethod"), "average")
        self.assertEqual(self.store.set_metadata("old", "aggregationMethod", "max"), "average")
        self.assertEqual(self.whisper.get_metadata("old", "aggregationMethod"), "max")
        self.assertRaises(StorageError, self.store.get_metadata, "none", "aggregationMethod")

    def test_faults_matter_where_nothing_else_is_known(self) -> None:
        for name in ("a", "new"):
            with open(f"{self.ceres.path_of(name)}/.ceres-node", "w") as file:
                file.write("{")
        self.assertEqual(np.nansum(self.store.fetch("a", NOW - 180, NOW, NOW).values), 3.0)
        self.assertRaises(StorageError, self.store.fetch, "new", NOW - 180, NOW, NOW)
        (fault,) = self.store.fetch_many(["new"], NOW - 180, NOW, NOW, 100)
        self.assertIsInstance(fault, StorageError)
        self.assertRaises(ValueError, MergedStore(MemoryStore(self.schemas)).fetch, "new", NOW, NOW - 1, NOW)
