"""istatd's files read as series, alone and beside whisper files and ceres nodes."""

from __future__ import annotations

import io
import os

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import StorageConfig
from cadtwist.errors import StorageError
from cadtwist.model.series import Series
from cadtwist.model.statjob import Shift
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.services.counterfiles import CounterFiles, is_counter_tree
from cadtwist.services.scan import main
from cadtwist.services.stores import reading_store
from cadtwist.storage.ceres import CeresStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.statfile import StatFileOptions, StatStore
from cadtwist.storage.whisper import WhisperOptions, WhisperStore
from tests.contracts.test_store import job
from tests.kernels.statjobs import gauge
from tests.storage.test_statfile import T, stat_job

NOW = T + 600
RETENTION = "10s:1h,5m:1d,5m:7d:season:0.9"


class CounterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = self.mktemp()
        os.mkdir(self.root)

    def count(self, **values: float) -> None:
        """Keep counters with two samples in one cell of 10 seconds, and one in the next."""
        store = StatStore(self.root, parse_stat_retentions(RETENTION), StatFileOptions(sparse=True, parents=False))
        samples = {
            name.replace("_", ".").encode(): [gauge(T, value), gauge(T + 1, value + 2), gauge(T + 10, value)]
            for name, value in values.items()
        }
        store.write(stat_job(samples, Shift.ALL))
        store.close()

    def values(self, found: Series | None) -> list[float | None]:
        assert found is not None
        return [None if value != value else value for value in found.values.tolist()]


class CounterFilesTests(CounterCase):
    def setUp(self) -> None:
        super().setUp()
        self.count(a_b=5.0, c=7.0)
        self.files = CounterFiles(self.root)

    def test_names(self) -> None:
        with open(os.path.join(self.root, "a", "notes"), "w", encoding="ascii") as file:
            file.write("no StatFile")
        os.makedirs(os.path.join(self.root, ".hidden", "x"))
        names = [name for some in self.files.walk(1) for name in some]
        figures = ("avg", "count", "max", "min", "sdev", "sum")
        self.assertEqual(sorted(names), [f"{counter}.{figure}" for counter in ("a.b", "c") for figure in figures])
        self.assertEqual([self.files.exists(name) for name in ("a.b.avg", "a.b", "a.b.x", "x.avg", "..avg")],
                         [True, False, False, False, False])  # fmt: skip

    def test_figures(self) -> None:
        for figure, values, method in (
            ("avg", [6.0, 5.0], "average"), ("count", [2.0, 1.0], "sum"), ("sum", [12.0, 5.0], "sum"),
            ("min", [5.0, 5.0], "min"), ("max", [7.0, 5.0], "max"),
        ):  # fmt: skip
            found = self.files.fetch(f"a.b.{figure}", T - 10, T + 20, NOW)
            assert found is not None
            self.assertEqual((found.start, found.end, found.step, found.consolidation), (T, T + 30, 10, method))
            self.assertEqual(self.values(found), [*values, None], figure)

    def test_the_finest_file_that_reaches_back_answers(self) -> None:
        found = self.files.fetch("c.count", T - 7200, NOW, NOW)
        assert found is not None
        self.assertEqual((found.step, np.nansum(found.values)), (300, 3.0))
        self.assertEqual(self.files.fetch("c.count", T - 60, NOW, NOW, 300).step, 300)  # type: ignore[union-attr]
        self.assertRaises(ValueError, self.files.fetch, "c.count", T, NOW, NOW, 77)
        self.assertRaises(ValueError, self.files.fetch, "c.count", NOW, T, NOW)

    def test_nothing_is_no_fault(self) -> None:
        for name in ("x.avg", "a.avg", "a.b.other", "a..b.avg", "avg", "a.b.10s.avg"):
            self.assertIsNone(self.files.fetch(name, T, NOW, NOW), name)
        self.assertIsNone(self.files.fetch("c.avg", NOW + 60, NOW + 120, NOW))

    def test_a_damaged_file_is_passed_over(self) -> None:
        self.assertTrue(self.files.exists("c.count"))
        with open(os.path.join(self.root, "c", "10s"), "w", encoding="ascii") as file:
            file.write("x" * 600)
        found = self.files.fetch("c.count", T - 60, NOW, NOW)
        self.assertEqual(None if found is None else found.step, 300, "the other files go on")

    def test_it_is_only_read(self) -> None:
        self.assertRaises(StorageError, self.files.write, job(SchemaTable(), {"a": [(NOW, 1.0)]}))
        self.assertRaises(StorageError, self.files.set_metadata, "c.sum", "aggregationMethod", "max")
        self.assertFalse(self.files.delete("c.sum"))
        self.assertEqual(self.files.get_metadata("c.sum", "aggregationMethod"), "sum")
        self.assertRaises(StorageError, self.files.get_metadata, "x.sum", "aggregationMethod")
        self.assertRaises(ValueError, self.files.get_metadata, "c.sum", "xFilesFactor")


class MergedTests(CounterCase):
    def test_which_folder_is_one(self) -> None:
        self.assertFalse(is_counter_tree(os.path.join(self.root, "none")))
        os.mkfifo(os.path.join(self.root, "pipe"))
        self.assertFalse(is_counter_tree(self.root))
        for number in range(1500):
            os.mkdir(os.path.join(self.root, f"f{number}"))
        self.assertFalse(is_counter_tree(self.root))
        for number in range(1500):
            os.rmdir(os.path.join(self.root, f"f{number}"))
        self.count(a_b_c=1.0)
        self.assertTrue(is_counter_tree(self.root))

    def test_all_that_is_there_is_one_store(self) -> None:
        """A name in three forms in one folder, and one that only counters have; a scan finds all."""
        schemas = SchemaTable()
        WhisperStore(self.root, schemas, WhisperOptions()).write(job(schemas, {"a.sum": [(T - 60, 1.0)]}, T))
        CeresStore(self.root, schemas).write(job(schemas, {"a.sum": [(T - 120, 2.0)], "n": [(T, 3.0)]}, T))
        self.count(a=5.0, b=7.0)
        store = reading_store(StorageConfig(root=self.root, read_only=True))
        found = store.fetch("a.sum", T - 180, T + 30, NOW)
        assert found is not None
        known = dict(zip(range(found.start, found.end, found.step), self.values(found), strict=True))
        self.assertEqual([known[T + after] for after in (0, 10, -60, -120)], [12.0, 5.0, 1.0, 2.0])
        self.assertEqual(found.step, 10)
        out = io.BytesIO()
        main([self.root], out)
        for name in (b"a.sum", b"n", b"b.avg"):
            self.assertIn(name, out.getvalue())

    def test_beside_other_folders(self) -> None:
        self.count(a=5.0)
        store = reading_store(StorageConfig(root=self.mktemp(), read_also=(self.root,), read_only=True))
        self.assertEqual(self.values(store.fetch("a.sum", T - 10, T + 10, NOW)), [12.0, 5.0])
