"""What replicas and masters say: read back, cut anywhere, damaged, hostile."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.replica import (
    MOST_NAMES,
    MOST_PAGES,
    Folder,
    FoundFile,
    Greeting,
    Kind,
    Pages,
    Pdus,
    ReplicaError,
    StatNames,
    Sums,
    ask_folder,
    ask_pages,
    ask_sums,
    pack_headers,
    pack_names,
    pack_number,
    pack_samples,
    pdu,
    read_ask_folder,
    read_ask_pages,
    read_ask_sums,
    unpack_headers,
    unpack_ids,
    unpack_number,
    unpack_samples,
)
from cadtwist.kernels.statformat import HEADER_BYTES, PAGE_BYTES
from cadtwist.model.summary import SummaryBatch

PLAIN = st.lists(st.sampled_from([b"a", b"b-", b"\xff", b"Z"]), min_size=1, max_size=6).map(b"".join)
PATHS = st.lists(PLAIN, min_size=1, max_size=4).map(b"/".join)
NUMBERS = st.integers(-(1 << 62), 1 << 62)


def batch_of(n: int) -> SummaryBatch:
    column = np.arange(n) * 1.5
    return SummaryBatch(np.arange(n, dtype=np.uint32), column, column + 1, column, -column, column, column)


CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


class PduTests(SynchronousTestCase):
    said = [(Kind.CONNECT, b"x" * 28), (Kind.LIVE, b""), (Kind.REDO, bytes(range(256)) * 40), (Kind.BEAT, b"12345678")]

    def feed(self, parts: list[bytes]) -> list[tuple[Kind, bytes]]:
        pdus = Pdus()
        return [found for part in parts for found in pdus.feed(part)]

    def test_whole_byte_by_byte_and_split_at_random(self) -> None:
        data = b"".join(pdu(kind, payload) for kind, payload in self.said)
        self.assertEqual(self.feed([data]), self.said)
        self.assertEqual(self.feed([data[at : at + 1] for at in range(len(data))]), self.said)
        for seed in range(50):
            rng = random.Random(seed)
            cuts = sorted(rng.randrange(len(data)) for _ in range(9))
            bounds = [0, *cuts, len(data)]
            parts = [data[a:b] for a, b in pairwise(bounds)]
            self.assertEqual(self.feed(parts), self.said, seed)

    def test_a_length_beyond_the_bound_is_refused_before_anything_is_held(self) -> None:
        pdus = Pdus(1000)
        with self.assertRaises(ReplicaError):
            list(pdus.feed(struct.pack("<II", Kind.REDO, 1001)))
        self.assertEqual(list(Pdus(1000).feed(pdu(Kind.REDO, bytes(1000)))), [(Kind.REDO, bytes(1000))])

    def test_an_unknown_kind_ends_it_after_what_was_good(self) -> None:
        found = []
        with self.assertRaises(ReplicaError):
            for one in Pdus().feed(pdu(Kind.LIVE) + struct.pack("<II", 99, 0)):
                found.append(one)
        self.assertEqual(found, [(Kind.LIVE, b"")])

    def test_istatds_own_replica_is_no_replica_of_ours(self) -> None:
        with self.assertRaises(ReplicaError):
            list(Pdus(8192).feed(struct.pack("<I", 1) + b"\xff" * 16))


class MessageTests(SynchronousTestCase):
    def test_greetings(self) -> None:
        said = Greeting(b"i" * 16, 7, True)
        self.assertEqual(Greeting.unpack(said.pack(True), True), said)
        self.assertEqual(Greeting.unpack(said.pack(False), False), said._replace(resumed=False))
        for wrong in (b"", said.pack(True), struct.pack("<I", 1) + said.pack(False)[4:]):
            with self.assertRaises(ReplicaError):
                Greeting.unpack(wrong, False)

    def test_names_and_samples(self) -> None:
        ids, events = np.array([3, 9], np.uint32), np.array([True, False])
        parts = pack_names(ids, b"a.bccc", np.array([0, 3, 6], np.uint32), events)
        told = StatNames.unpack(b"".join(parts))
        self.assertEqual((told.ids.tolist(), told.events.tolist()), ([3, 9], [True, False]))
        self.assertEqual(told.names, [b"a.b", b"ccc"])
        batch = batch_of(5)
        read = unpack_samples(b"".join(pack_samples(batch)))
        for column in ("ids", "timestamps", "counts", "sums", "sumsqs", "minima", "maxima"):
            self.assertEqual(getattr(read, column).tolist(), getattr(batch, column).tolist(), column)
        self.assertEqual(unpack_ids(ids.tobytes()).tolist(), [3, 9])
        self.assertEqual(unpack_number(pack_number(1 << 40)), 1 << 40)

    def test_names_that_contradict_themselves(self) -> None:
        ids, events = np.array([3, 9], np.uint32), np.array([True, False])
        for offsets in ([0, 3, 7], [0, 3, 5], [1, 3, 6], [0, 6, 6], [0, 7, 6]):
            with self.assertRaises(ReplicaError, msg=str(offsets)):
                StatNames.unpack(b"".join(pack_names(ids, b"a.bccc", np.array(offsets, np.uint32), events)))

    @CALM
    @given(st.lists(st.tuples(PATHS, st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES)), max_size=4))
    def test_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.assertEqual(unpack_headers(pack_headers(headers)), headers)

    @CALM
    @given(
        st.lists(st.builds(FoundFile, PLAIN, NUMBERS.map(abs), NUMBERS), max_size=5, unique_by=lambda file: file.name),
        st.lists(PLAIN, max_size=5, unique=True),
        st.booleans(),
    )
    def test_folders(self, files: list[FoundFile], folders: list[bytes], more: bool) -> None:
        folder = Folder(sorted(files), sorted(folders), more)
        self.assertEqual(Folder.unpack(folder.pack()), folder)
        self.assertEqual(folder.last, max([file.name for file in files] + folders, default=b""))

    def test_folders_that_are_none(self) -> None:
        many = [b"%06d" % number for number in range(MOST_NAMES + 1)]
        for folders in ([b"b", b"a"], [b"a", b"a"], [b".a"], [b"a/b"], [b".."], [b""], [b"a\0"], [b"x" * 256], many):
            with self.assertRaises(ReplicaError, msg=str(folders[:3])):
                Folder.unpack(Folder([], folders, False).pack())

    @CALM
    @given(NUMBERS, NUMBERS, st.lists(st.binary(min_size=16, max_size=16), max_size=4))
    def test_sums(self, size: int, changed: int, sums: list[bytes]) -> None:
        self.assertEqual(Sums.unpack(Sums(size, changed, 5, sums).pack()), Sums(size, changed, 5, sums))

    @CALM
    @given(NUMBERS, st.lists(st.binary(max_size=50), max_size=4))
    def test_pages(self, size: int, pages: list[bytes]) -> None:
        self.assertEqual(Pages.unpack(Pages(size, 1, 2, pages).pack()), Pages(size, 1, 2, pages))

    def test_too_many_or_too_long_pages(self) -> None:
        for pages in ([b"x"] * (MOST_PAGES + 1), [bytes(PAGE_BYTES + 1)]):
            with self.assertRaises(ReplicaError):
                Pages.unpack(Pages(1, 1, 1, pages).pack())

    @CALM
    @given(PATHS, PLAIN, st.lists(st.integers(0, 1 << 25), min_size=1, max_size=5))
    def test_requests(self, path: bytes, after: bytes, pages: list[int]) -> None:
        self.assertEqual(read_ask_folder(ask_folder(path, after)), (path, after))
        self.assertEqual(read_ask_folder(ask_folder(b"", b"")), (b"", b""))
        self.assertEqual(read_ask_sums(ask_sums(path, pages[0])), (path, pages[0]))
        self.assertEqual(read_ask_pages(ask_pages(path, pages)), (path, pages))

    def test_no_path_leads_out(self) -> None:
        wrong = (
            b"..",
            b"a/../b",
            b"/etc/passwd",
            b"a//b",
            b"a/",
            b".hidden",
            b"a/.b",
            b"a\0b",
            b"x" * 256,
            b"a/" * 3000,
        )
        for path in wrong:
            for read, said in (
                (read_ask_folder, ask_folder(path, b"")),
                (read_ask_sums, ask_sums(path, 0)),
                (read_ask_pages, ask_pages(path, [0])),
                (unpack_headers, pack_headers([(path[:60000], bytes(HEADER_BYTES))])),
            ):
                with self.assertRaises(ReplicaError, msg=repr(path[:20])):
                    read(said)  # type: ignore[operator]
        with self.assertRaises(ReplicaError):
            read_ask_sums(ask_sums(b"", 0))

    def test_requests_for_wrong_numbers_of_pages(self) -> None:
        for pages in ([], [1] * (MOST_PAGES + 1)):
            with self.assertRaises(ReplicaError):
                read_ask_pages(ask_pages(b"a", pages))

    @CALM
    @given(st.binary(max_size=200))
    def test_whatever_comes_is_read_or_refused(self, data: bytes) -> None:
        for read in (
            StatNames.unpack, unpack_samples, unpack_ids, unpack_headers, unpack_number, Folder.unpack, Sums.unpack,
            Pages.unpack, read_ask_folder, read_ask_sums, read_ask_pages, lambda said: Greeting.unpack(said, True),
        ):  # fmt: skip
            try:
                read(data)  # type: ignore[operator]
            except ReplicaError:
                continue
