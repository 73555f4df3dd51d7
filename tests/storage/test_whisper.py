from __future__ import annotations

import json
import os
import re
from pathlib import Path

import whisper
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.model.retention import SchemaRule, parse_retentions
from cadtwist.model.writejob import CREATED, QUARANTINED, WRITTEN
from cadtwist.storage.reports import FileReport
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.tree import metric_of
from cadtwist.storage.whisper import WhisperOptions, WhisperStore
from tests.contracts.test_store import NOW, job

DATA = Path(__file__).parent.parent / "data" / "carbon"


class WhisperStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = SchemaTable()
        self.root = self.mktemp()
        self.store = WhisperStore(self.root, self.schemas, WhisperOptions(max_open_files=10, allocation="sparse"))
        self.addCleanup(self.store.close)

    def write(self, *names: str, now: int = NOW) -> list[int]:
        return self.store.write(job(self.schemas, {name: [(now, 1.0)] for name in names}, now)).tolist()

    def test_paths_are_as_recorded(self) -> None:
        plain = WhisperStore(self.root, self.schemas, WhisperOptions(hash_tagged=False))
        for case in json.loads((DATA / "path_mapping.json").read_text())["results"]:
            root = os.path.abspath(self.root)
            self.assertEqual(self.store.path_of(case["metric"]), f"{root}/{case['path_hashed']}")
            self.assertEqual(plain.path_of(case["metric"]), f"{root}/{case['path_plain']}")

    def test_names_of_paths(self) -> None:
        plain = WhisperStore(self.root, self.schemas, WhisperOptions(hash_tagged=False))
        for name in ("a.b.c", "top", "ü.ß", "foo."):
            self.assertEqual(self.name_of(self.store.path_of(name)), name)
        self.assertEqual(self.name_of(plain.path_of("m.x;a=b.c")), "m.x;a=b.c")
        hashed = self.name_of(self.store.path_of("m.x;a=b.c"))
        self.assertRegex(hashed or "", r"^_tagged\.[0-9a-f]{3}\.[0-9a-f]{3}\.[0-9a-f]{64}$")
        for path in ("a/b.txt", "../up.wsp", "a.b/c.wsp", "a/b.c.wsp"):
            self.assertIsNone(metric_of(path))

    def name_of(self, path: str) -> str | None:
        return metric_of(os.path.relpath(path, self.root))

    def test_the_library_reads_the_files(self) -> None:
        self.write("a.b")
        found = whisper.fetch(self.store.path_of("a.b"), NOW - 60, NOW, NOW)
        self.assertEqual(found[1], [1.0])
        self.assertEqual(self.store.info("a.b").archives, ((60, 10080),))

    def test_tagged_metrics_are_found_under_either_path(self) -> None:
        plain = WhisperStore(self.root, self.schemas, WhisperOptions(hash_tagged=False))
        plain.write(job(self.schemas, {"m;a=b": [(NOW, 1.0)]}))
        self.assertTrue(self.store.exists("m;a=b"))
        self.assertEqual(self.store.fetch("m;a=b", NOW - 60, NOW, NOW).values.tolist(), [1.0])
        self.assertEqual(list(self.store.walk()), [["m;a=b"]])
        self.assertTrue(self.store.delete("m;a=b"))

    def test_a_mismatch_is_told_once_and_listed(self) -> None:
        self.write("a")
        self.schemas.reload([SchemaRule("all", re.compile(""), parse_retentions("10s:1h"))], [])
        self.store.close()
        for _again in range(2):
            self.assertEqual(self.write("a"), [WRITTEN])
            self.store.close()
        self.assertEqual(self.store.reports(), [FileReport("retention_mismatch", "a", "")])
        self.assertEqual(self.store.mismatched(), ["a"])
        self.assertEqual(self.store.counters()["mismatched"], 2)

    def test_a_damaged_file_is_told_once_and_cannot_be_fetched(self) -> None:
        self.write("a")
        os.truncate(self.store.path_of("a"), 100)
        for _again in range(2):
            self.assertEqual(self.write("a", "b"), [QUARANTINED, CREATED if not _again else WRITTEN])
        self.assertEqual([(r.kind, r.name) for r in self.store.reports()], [("quarantined", "a")])
        self.assertEqual(self.store.reports(), [])
        self.store.tell_again()
        self.write("a")
        self.assertEqual(len(self.store.reports()), 1)
        self.assertRaises(StorageError, self.store.fetch, "a", NOW - 60, NOW, NOW)
        self.assertRaises(StorageError, self.store.info, "a")

    def test_each_lane_keeps_its_own_descriptors(self) -> None:
        store = WhisperStore(self.root, self.schemas, WhisperOptions(max_open_files=4), lanes=2)
        for id_ in range(8):
            store.write(job(self.schemas, {f"m{id_}": [(NOW, 1.0)]}, ids=[id_]))
        self.assertEqual(store.counters()["created"], 8)
        self.assertLessEqual(store.counters()["open_files"], 4)
        store.close()
        self.assertEqual(store.counters()["open_files"], 0)

    def test_walking_passes_over_what_is_no_metric(self) -> None:
        self.write("a.b", "c", "m;t=1")
        root = Path(self.root)
        for path in ("a/x.y.wsp", "a/notes.txt", "d.e/f.wsp", ".new-1"):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).touch()
        os.symlink(os.path.abspath(root), root / "loop")
        os.symlink("/nowhere", root / "dangling")
        Path(os.fsdecode(os.fsencode(root) + b"/bad\xff.wsp")).touch()
        found = sorted(name for names in self.store.walk() for name in names)
        hashed = self.store.path_of("m;t=1").removeprefix(self.store.root + "/").removesuffix(".wsp")
        self.assertEqual(found, [hashed.replace("/", "."), "a.b", "c"])

    def test_a_missing_root_has_no_metrics(self) -> None:
        self.assertEqual(list(WhisperStore("/nowhere/at/all", self.schemas).walk()), [])
        self.assertIsNone(WhisperStore("/nowhere/at/all", self.schemas).fetch("a", 0, 1, 1))

    def test_unknown_allocation(self) -> None:
        self.assertRaises(ValueError, WhisperStore, self.root, self.schemas, WhisperOptions(allocation="magic"))
