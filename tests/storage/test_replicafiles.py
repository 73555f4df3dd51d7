"""Files as replication sees them: what is compared, what is written, what is refused."""

from __future__ import annotations

import contextlib
import os
import random
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.replica import MOST_NAMES, Folder, Pages, ReplicaError, Sums
from cadtwist.kernels.statformat import HEADER_BYTES, PAGE_BYTES
from cadtwist.storage.replicafiles import ReplicaFiles, checked_redo
from tests.istatrig import IstatRig

NOW_NS = 1_800_000_000_000_000_000
T = 1325394000
FILES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.binary(max_size=9)), max_size=8)


def content(root: str) -> dict[str, bytes]:
    found = {}
    for folder, _folders, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


class FilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.master = os.path.abspath(self.mktemp())
        self.replica = os.path.abspath(self.mktemp())
        os.makedirs(self.master)
        os.makedirs(self.replica)
        self.theirs, self.ours = ReplicaFiles(self.master), ReplicaFiles(self.replica, sparse=True)
        self.asked_pages = 0

    def put(self, root: str, path: str, data: bytes) -> None:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
        os.utime(full, ns=(NOW_NS - 10**10, NOW_NS - 10**10))

    def make_equal(self, trust_times: bool = False) -> int:
        """Do what a comparison does; return how many files were compared."""
        folders, compared = [(b"", b"")], 0
        while folders:
            path, after = folders.pop()
            part = Folder.unpack(self.theirs.folder(path, after).pack())
            differing, _gone = self.ours.compare(path, part, after, trust_times)
            folders += [(os.path.join(path, name), b"") for name in part.folders]
            if part.more:
                folders.append((path, part.last))
            for file in differing:
                compared += 1
                self.make_file_equal(file)
        return compared

    def make_file_equal(self, path: bytes) -> None:
        sums = Sums.unpack(self.theirs.sums(path, 0, NOW_NS).pack())
        wrong = self.ours.differing(path, 0, sums)
        self.asked_pages += len(wrong)
        self.ours.resize(path, sums.size)
        if wrong:
            pages = Pages.unpack(self.theirs.pages(path, wrong, NOW_NS).pack())
            self.ours.write(path, wrong, pages)
        self.ours.settle(path, sums)


class CompareTests(FilesCase):
    def test_an_empty_store_and_then_nothing_more(self) -> None:
        rng = random.Random(3)
        for number in range(8):
            self.put(self.master, f"a/b{number % 3}/{number}", rng.randbytes(rng.randrange(30000)))
        self.put(self.master, "zeros", bytes(5 * PAGE_BYTES))
        self.put(self.master, "empty", b"")
        self.assertEqual(self.make_equal(), 10)
        self.assertEqual(content(self.replica), content(self.master))
        self.assertEqual(self.make_equal(trust_times=True), 0)
        self.assertEqual(self.make_equal(), 10)

    def test_only_pages_that_differ_are_asked_for(self) -> None:
        data = random.Random(1).randbytes(40 * PAGE_BYTES)
        self.put(self.master, "c/10s", data)
        self.put(self.replica, "c/10s", data[: 9 * PAGE_BYTES] + b"?" + data[9 * PAGE_BYTES + 1 :])
        self.make_equal()
        self.assertEqual((content(self.replica), self.asked_pages), (content(self.master), 1))

    def test_what_is_too_much_goes_to_the_backup(self) -> None:
        self.put(self.master, "a/10s", b"1")
        for path in ("a/5m", "a/deep/er/10s", "b/10s", "a/10s"):
            self.put(self.replica, path, path.encode())
        self.put(self.replica, ".hidden", b"stays")
        self.make_equal()
        self.assertEqual(content(self.replica), {"a/10s": b"1", ".hidden": b"stays"})
        self.assertEqual(sorted(content(self.replica + ".bak")), ["a/5m", "a/deep/er/10s", "b/10s"])

    def test_a_folder_in_place_of_a_file_and_the_other_way_round(self) -> None:
        self.put(self.master, "a", b"file")
        self.put(self.master, "b/10s", b"in a folder")
        self.put(self.replica, "a/10s", b"in a folder")
        self.put(self.replica, "b", b"file")
        self.make_equal()
        self.assertEqual(content(self.replica), content(self.master))

    def test_large_folders_come_in_parts(self) -> None:
        for number in range(MOST_NAMES + 10):
            self.put(self.master, f"f{number:05}", b"")
        self.put(self.replica, "f00000x", b"")
        self.put(self.replica, "zz", b"")
        self.make_equal()
        self.assertEqual(content(self.replica), content(self.master))

    def test_a_change_of_just_now_is_compared_again(self) -> None:
        self.put(self.master, "a", b"1")
        os.utime(os.path.join(self.master, "a"), ns=(NOW_NS - 5, NOW_NS - 5))
        self.make_equal()
        self.assertEqual(self.make_equal(trust_times=True), 1)

    @CALM
    @given(FILES, FILES)
    def test_any_two_stores(self, one: list[tuple[str, str, bytes]], other: list[tuple[str, str, bytes]]) -> None:
        self.setUp()
        for root, files in ((self.master, one), (self.replica, other)):
            for folder, name, data in files:
                self.put(root, f"{folder}/{name}", data * 1000)
        self.make_equal()
        self.assertEqual(content(self.replica), content(self.master))


class SafetyTests(FilesCase):
    def test_links_are_not_followed(self) -> None:
        outside = os.path.abspath(self.mktemp())
        self.put(outside, "secret", b"secret")
        os.symlink(outside, os.path.join(self.master, "dir"))
        os.symlink(os.path.join(outside, "secret"), os.path.join(self.master, "file"))
        self.assertEqual(self.theirs.folder(b""), Folder([], [], False))
        with self.assertRaises(ReplicaError):
            self.theirs.sums(b"dir/secret", 0, NOW_NS)
        with self.assertRaises((ReplicaError, OSError)):
            self.theirs.pages(b"file", [0], NOW_NS)
        os.symlink(outside, os.path.join(self.replica, "dir"))
        with self.assertRaises(ReplicaError):
            self.ours.write(b"dir/secret", [0], Pages(5, 0, NOW_NS, [b"lost!"]))
        self.put(self.master, "x/y", b"")
        self.make_equal()
        self.assertEqual(content(outside), {"secret": b"secret"})

    def test_what_is_gone(self) -> None:
        self.assertEqual(self.theirs.sums(b"no", 0, NOW_NS).size, -1)
        self.assertEqual(self.theirs.pages(b"no/no", [0], NOW_NS).size, -1)
        self.assertEqual(self.theirs.folder(b"no"), Folder([], [], False))

    def test_sizes_are_bounded(self) -> None:
        for size in (-1, 1 << 40):
            with self.assertRaises(ReplicaError):
                self.ours.resize(b"a", size)
        self.ours.write(b"a", [0, 1 << 30], Pages(4, 0, NOW_NS, [b"good", b"far"]))
        self.assertEqual(content(self.replica), {"a": b"good"})


class RedoTests(SynchronousTestCase):
    def rig(self) -> IstatRig:
        rig = IstatRig(os.path.abspath(self.mktemp()), "10s:1h,5m:2h", T + 100)
        rig.feed(f"a.b {T} 5\n*a.e {T + 60} 3\nc {T} 1\n")
        return rig

    def redo(self, rig: IstatRig) -> bytes:
        told = list[bytes]()
        rig.cache.begin()
        job = rig.cache.take(100)
        assert job is not None
        rig.store.write(job, told.append)
        return told[0]

    def test_a_replica_writes_the_same_bytes(self) -> None:
        rig = self.rig()
        redo = self.redo(rig)
        master, root = ReplicaFiles(rig.store.root), os.path.abspath(self.mktemp())
        headers = master.headers([b"a.b", b"a.e", b"c"], rig.store.files)
        self.assertEqual(sorted({path for path, _ in headers} & {b"a/10s", b"a/b/10s"}), [b"a/10s", b"a/b/10s"])
        replica = ReplicaFiles(root, sparse=True)
        other = IstatRig(root, "10s:1h,5m:2h", T + 100)
        for _ in range(2):
            replica.make(headers)
            other.store.recover(checked_redo(redo))
            self.assertEqual(content(root), content(rig.store.root))

    def test_a_file_of_another_shape_is_made_anew(self) -> None:
        rig = self.rig()
        self.redo(rig)
        root = os.path.abspath(self.mktemp())
        other = IstatRig(root, "10s:1h,5m:2h", T + 5000)
        other.feed("a.b 7\n")
        other.flush()
        ReplicaFiles(root).make(ReplicaFiles(rig.store.root).headers([b"a.b"], rig.store.files))
        head = ReplicaFiles(root).header(b"a/b/10s")
        assert head is not None
        self.assertEqual((head.create_time, head.last_bucket), (T, 0))

    def test_no_write_leaves_its_file_or_the_store(self) -> None:
        redo = self.redo(self.rig())
        size, number, length, row = struct.unpack_from("<IHHI", redo)
        data = redo[12 + length : size]

        def entry(path: bytes, data: bytes, number: int = number) -> bytes:
            return struct.pack("<IHHI", 12 + len(path) + len(data), number, len(path), row) + path + data

        self.assertEqual(checked_redo(entry(b"a/b/10s", data)), entry(b"a/b/10s", data))
        for path in (b"../x/10s", b"/etc/passwd", b"a/../../b", b"", b"a//b", b"a/.10s"):
            with self.assertRaises(ReplicaError, msg=repr(path)):
                checked_redo(entry(path, data))
        header = data[:HEADER_BYTES]
        for offset, cells in ((0, b"x"), (1 << 40, b"x" * 32), (PAGE_BYTES * 3 - 16, b"x" * 32)):
            with self.assertRaises(ReplicaError, msg=str(offset)):
                checked_redo(entry(b"a/b/10s", header + struct.pack("<QI", offset, len(cells)) + cells))
        for damaged in (b"short", header[:-1], b"x" * HEADER_BYTES, data[:-1]):
            with self.assertRaises(ReplicaError):
                checked_redo(entry(b"a/b/10s", damaged))
        with self.assertRaises(ReplicaError):
            checked_redo(redo[:-1])
        with self.assertRaises(ReplicaError):
            checked_redo(entry(b"a..b", b"", 0xFFFF))

    @CALM
    @given(st.binary(max_size=100), st.integers(0, 2000))
    def test_whatever_comes_is_good_or_refused(self, noise: bytes, at: int) -> None:
        redo = struct.pack("<IHHI", 15, 0xFFFF, 3, 0) + b"a.b"
        with contextlib.suppress(ReplicaError):
            checked_redo(redo[: at % len(redo)] + noise)
