"""Points that another process shares: both twins see what the store holds, or say that it has to be asked."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.kernels.hotpoints_py import SHARED_BYTES
from tests.kernels.test_points import ROOM, ids_of, rows
from tests.twins import native_twin, python_twin

INF = float("inf")

READER = """
import numpy as np
from {twin} import SharedPoints

near, ids = SharedPoints({descriptor}), np.arange(50, dtype=np.uint32)
read = 0
while read < 200:
    found = near.peek_within(ids, np.zeros(50), -1.0, 1e9)
    if found is not None and len(found[1]):
        offsets, times, values = found
        (n,) = set(np.diff(offsets).tolist())
        assert set(values.tolist()) == {{n}} and times.tolist() == 50 * list(range(n)), found
        read += 1
print(read, "read")
"""


def sharing() -> tuple[Any, int]:
    """Return a store that shares its points, and its descriptor."""
    native = native_twin("points")
    if native is None:
        raise SkipTest("no native kernels: nothing is shared")
    store = native.PointStore()
    descriptor = store.share()
    if descriptor is None:
        raise SkipTest("this system has no memory that can be shared")
    return store, descriptor


def plain(found: Any) -> Any:
    return None if found is None else [column.tolist() for column in found]


class SharedPointsContract:
    twin: ModuleType

    def setUp(self) -> None:
        self.store, self.descriptor = sharing()
        self.near = self.twin.SharedPoints(self.descriptor)

    def add(self, *points: tuple[int, float, float]) -> None:
        self.store.append(*rows(*points), 1, ROOM)

    def peek(self, *ids: int, start: float = -INF, end: float = INF, slack: float = 0.0) -> Any:
        asked = ids_of(*ids), np.full(len(ids), float(slack)), start, end
        found = plain(self.near.peek_within(*asked))
        if found is not None:
            self.assertEqual(found, plain(self.store.peek_within(*asked)))
        return found

    def test_nothing_is_there_yet(self) -> None:
        self.assertEqual(self.peek(0, 7, (1 << 32) - 1), [[0, 0, 0, 0], [], []])
        self.assertEqual(self.peek(), [[0], [], []])
        self.assertEqual(self.near.points, 0)

    def test_what_comes_is_there_at_once(self) -> None:
        self.add((3, 20.0, 1.0), (3, 10.0, 2.0), (0, 5.0, 3.0))
        self.assertEqual(self.peek(3, 1, 0), [[0, 2, 2, 3], [20.0, 10.0, 5.0], [1.0, 2.0, 3.0]])
        self.add((3, 10.0, 7.0), (1, 1.0, 1.0))
        self.assertEqual(self.peek(3, 1), [[0, 2, 3], [20.0, 10.0, 1.0], [1.0, 7.0, 1.0]])
        self.assertEqual(self.near.points, 4)

    def test_only_what_was_asked_for(self) -> None:
        self.add(*((4, float(t), -float(t)) for t in range(100)))
        self.assertEqual(self.peek(4, start=50, end=51), [[0, 2], [50.0, 51.0], [-50.0, -51.0]])
        self.assertEqual(self.peek(4, start=50, end=51, slack=2)[0], [0, 6])
        self.assertRaises(ValueError, self.near.peek_within, ids_of(4, 5), np.zeros(1), 0.0, 1.0)

    def test_points_in_flight_are_the_owners_to_tell(self) -> None:
        self.add((1, 1.0, 1.0), (2, 2.0, 2.0))
        self.store.take(ids_of(1))
        self.assertIsNone(self.peek(1))
        self.assertIsNone(self.peek(2, 1))
        self.assertEqual(self.peek(2), [[0, 1], [2.0], [2.0]])
        self.store.confirm(ids_of(1))
        self.assertEqual(self.peek(1, 2), [[0, 0, 1], [2.0], [2.0]])
        self.assertEqual(self.near.points, 1)

    def test_points_that_come_back_are_there(self) -> None:
        self.add((1, 1.0, 1.0), (1, 2.0, 2.0))
        self.store.take(ids_of(1))
        self.add((1, 3.0, 3.0))
        self.store.requeue(ids_of(1))
        self.assertEqual(self.peek(1), [[0, 3], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])

    def test_a_long_backfill_is_the_owners_to_tell(self) -> None:
        self.add(*((1, float(t), 0.0) for t in range(300, 0, -1)))
        self.assertIsNone(self.peek(1))

    def test_what_is_forgotten_is_gone(self) -> None:
        self.add((1, 1.0, 1.0), (2, 2.0, 2.0))
        self.store.forget(ids_of(1))
        self.assertEqual(self.peek(1, 2), [[0, 0, 1], [2.0], [2.0]])

    def test_pages_come_and_go(self) -> None:
        """More than the store keeps spare pages: their memory is given back, and taken again by other classes."""
        ids = np.arange(40_000, dtype=np.uint32)
        for turn in range(3):
            for t in range(40):
                self.store.append(ids, np.full(len(ids), float(t)), np.full(len(ids), float(turn)), 1, ROOM)
            self.assertEqual(self.peek(0, 39_999, 20_000)[0], [0, 40, 80, 120])
            self.store.forget(ids)
            self.assertEqual(self.peek(0, 39_999, 20_000)[0], [0, 0, 0, 0])
            for t in range(2):
                self.store.append(ids, np.full(len(ids), float(t)), np.full(len(ids), -1.0), 1, ROOM)
            self.assertEqual(self.peek(39_999)[1:], [[0.0, 1.0], [-1.0, -1.0]])
            self.store.confirm(self.store.take(ids)[0])

    def test_while_something_is_changed_the_owner_is_asked(self) -> None:
        waits, at_last = list[int](), [0]

        def wait() -> None:
            waits.append(1)
            if len(waits) == at_last[0]:
                os.pwrite(self.descriptor, struct.pack("=Q", changes + 2), 8)

        self.near = self.twin.SharedPoints(self.descriptor, wait)
        self.add((1, 1.0, 1.0))
        (changes,) = struct.unpack("=Q", os.pread(self.descriptor, 8, 8))
        os.pwrite(self.descriptor, struct.pack("=Q", changes + 1), 8)
        self.assertIsNone(self.peek(1))
        self.assertEqual(len(waits), 9)
        at_last[0] = 12
        self.assertEqual(self.peek(1)[0], [0, 1])
        self.assertEqual(len(waits), 12)

    def test_chunks_that_are_none_do_no_harm(self) -> None:
        """What a reader may meet while pages change hands: links to anywhere."""
        self.add(*((1, float(t), 1.0) for t in range(3)))
        for tail, is_one in ((0xFFFFFFFF, False), (16383, False), (13106, True), (0xFFFFFFFF - 16383 + 13106, True)):
            os.pwrite(self.descriptor, struct.pack("=I", tail), (1 << 20) + 16)
            found = self.near.peek_within(ids_of(1), np.zeros(1), -INF, INF)
            self.assertEqual(found is not None, is_one)
        os.pwrite(self.descriptor, b"\xff", 4096)  # a page of no class
        self.assertIsNone(self.near.peek_within(ids_of(1), np.zeros(1), -INF, INF))

    def test_another_process_sees_whole_series_only(self) -> None:
        """All series get as many points at once, and lose them at once: nobody sees a part of that."""
        ids = np.arange(50, dtype=np.uint32)
        command = [sys.executable, "-c", READER.format(twin=self.twin.__name__, descriptor=self.descriptor)]
        root = Path(__file__).resolve().parent.parent.parent
        with subprocess.Popen(command, pass_fds=[self.descriptor], cwd=root, stdout=subprocess.PIPE) as reader:
            turn = 0
            while reader.poll() is None:
                turn += 1
                n = turn % 9 + 1
                times = np.repeat(np.arange(n, dtype=np.float64), len(ids))
                self.store.append(np.tile(ids, n), times, np.full(len(times), float(n)), 1, ROOM)
                self.store.forget(ids)
            assert reader.stdout is not None
            self.assertEqual(reader.stdout.read(), b"200 read\n")

    def test_other_descriptors(self) -> None:
        with tempfile.TemporaryFile() as file:
            self.assertRaises(ValueError, self.twin.SharedPoints, file.fileno())
            file.truncate(SHARED_BYTES)
            self.assertRaises(ValueError, self.twin.SharedPoints, file.fileno())


class PythonSharedPointsTests(SharedPointsContract, SynchronousTestCase):
    twin = python_twin("hotpoints")


class NativeSharedPointsTests(SharedPointsContract, SynchronousTestCase):
    def setUp(self) -> None:
        native = native_twin("hotpoints")
        if native is None:
            raise SkipTest("no native kernels: nothing is shared")
        self.twin = native
        super().setUp()


class SharingTests(SynchronousTestCase):
    def test_from_the_beginning_or_not_at_all(self) -> None:
        for twin in (python_twin("points"), native_twin("points")):
            if twin is not None:
                store = twin.PointStore()
                store.append(*rows((1, 1.0, 1.0)), 1, ROOM)
                self.assertRaises(ValueError, store.share)

    def test_the_python_twin_shares_nothing(self) -> None:
        self.assertIsNone(python_twin("points").PointStore().share())

    def test_its_memory_is_counted(self) -> None:
        store, _ = sharing()
        alone = native_twin("points").PointStore()  # type: ignore[union-attr]
        for one in (store, alone):
            one.append(*rows(*((number, 1.0, 1.0) for number in range(30_000))), 1, ROOM)
        self.assertEqual(store.point_bytes, alone.point_bytes)
        self.assertEqual(store.bytes, alone.bytes)
        self.assertLess(abs(store.reserved_bytes - alone.reserved_bytes), 1 << 18)

    @settings(max_examples=80, deadline=None)
    @given(st.data())
    def test_both_twins_see_what_the_store_holds(self, data: st.DataObject) -> None:
        store, descriptor = sharing()
        readers = [python_twin("hotpoints").SharedPoints(descriptor)]
        readers.append(native_twin("hotpoints").SharedPoints(descriptor))  # type: ignore[union-attr]
        metrics, flying = st.integers(0, 9), set[int]()
        for _ in range(data.draw(st.integers(1, 8))):
            do = data.draw(st.sampled_from(["add", "add", "grow", "take", "confirm", "requeue", "forget"]))
            ids = sorted(data.draw(st.sets(metrics, min_size=1)))
            if do == "add":
                points = data.draw(st.lists(st.tuples(metrics, st.integers(0, 90)), min_size=1))
                store.append(*rows(*((one, float(t), float(t + one)) for one, t in points)), 1, ROOM)
            elif do == "grow":
                base = data.draw(st.integers(0, 1000))
                store.append(*rows(*((one, float(base + t), 0.5) for t in range(60) for one in ids)), 1, ROOM)
            elif do == "take":
                flying |= set(store.take(ids_of(*ids))[0].tolist())
            else:
                getattr(store, do)(ids_of(*ids))
                flying -= set(ids)
            start, end = sorted(data.draw(st.tuples(st.integers(0, 90), st.integers(0, 2000))))
            slack = float(data.draw(st.integers(0, 9)))
            for near in readers:
                self.assertEqual(near.points, store.points)
                for one in range(11):
                    asked = ids_of(one), np.array([slack]), float(start), float(end)
                    found = plain(near.peek_within(*asked))
                    if found is not None:
                        self.assertEqual(found, plain(store.peek_within(*asked)))
                    elif one not in flying:  # in order or short, it is seen
                        self.assertGreaterEqual(len(store.peek(one)[0]), 64)
