"""Many whisper files read in one call: both twins."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.whisperformat import CORRUPT, NOTHING, TOO_MANY_POINTS
from tests.twins import native_twin, python_twin

NATIVE = native_twin("whisperfile")
NOW = 1_700_000_040
SCHEMAS = ([(60, 20)], [(1, 60), (10, 60), (60, 20)], [(10, 6), (60, 20)])
ENOUGH = 1 << 30


def plain(rows: list[Any]) -> list[Any]:
    """Return rows that can be compared."""
    shown = []
    for failed, first, last, step, values, method, xff in rows:
        texts = None if values is None else [repr(value) for value in values.tolist()]
        shown.append((failed, first, last, step, texts, method, xff))
    return shown


class ManyContract(SynchronousTestCase):
    """What each twin reads."""

    kernel: ModuleType

    def setUp(self) -> None:
        self.root = self.mktemp().encode()
        os.makedirs(self.root)

    def make(self, name: str, archives: list[tuple[int, int]], points: int = 0, method: int = 1) -> Path:
        """Make the file of a metric, with a point for each of the last seconds."""
        file = os.path.join(self.root, self.kernel.relative_path(name.encode()))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        self.kernel.create(file, archives, 0.25, method)
        if points:
            ages = range(0, points * 7, 7)
            self.kernel.update_many(file, [NOW - age for age in ages], [float(age) for age in ages], NOW)
        return Path(os.fsdecode(file))

    def read(self, names: list[str], start: int, end: int, now: int = NOW, most: int = ENOUGH) -> list[Any]:
        """Read the files of metrics."""
        return self.kernel.fetch_many(self.root, [name.encode() for name in names], True, start, end, now, most)

    def test_each_is_what_reading_it_alone_gives(self) -> None:
        files = [self.make(f"a.m{n}", archives, 100, 1 + n) for n, archives in enumerate(SCHEMAS)]
        files.append(self.make("a.empty", SCHEMAS[1]))
        names = ["a.m0", "a.m1", "a.m2", "a.empty"]

        @settings(max_examples=100, deadline=None, database=None)
        @given(st.integers(-50, 1500), st.integers(-50, 1500), st.integers(-5, 400))
        def check(a: int, b: int, later: int) -> None:
            start, end = NOW - max(a, b), NOW - min(a, b)
            rows = self.read(names, start, end, NOW + later)
            alone = [self.kernel.fetch(os.fsencode(file), start, end, NOW + later) for file in files]
            nothing = (NOTHING, 0, 0, 0, None, 0, 0.0)
            self.assertEqual(plain(rows), plain([nothing if one is None else (0, *one) for one in alone]))

        check()

    def test_faults_are_told_file_by_file(self) -> None:
        self.make("good", SCHEMAS[0], 5)
        self.make("torn", SCHEMAS[0]).write_bytes(b"\0" * 20)
        self.make("short", SCHEMAS[0]).write_bytes(b"")
        Path(os.fsdecode(self.root), "folder.wsp").mkdir()
        rows = self.read(["good", "torn", "none", "short", "folder", "x" * 300, "", "good"], NOW - 60, NOW)
        self.assertEqual([row[0] for row in rows][:4], [0, CORRUPT, errno.ENOENT, CORRUPT])
        self.assertIn(rows[4][0], (CORRUPT, errno.EISDIR))
        self.assertEqual([row[0] for row in rows][5:], [errno.ENOENT, errno.ENOENT, 0])
        self.assertEqual(rows[0][4].tolist(), rows[-1][4].tolist())
        self.assertTrue(all(row[4] is None for row in rows[1:7]))

    def test_no_more_points_than_allowed(self) -> None:
        for name in "abc":
            self.make(name, SCHEMAS[0], 5)
        rows = self.read(["a", "b", "c"], NOW - 180, NOW, most=6)
        self.assertEqual([row[0] for row in rows], [0, 0, TOO_MANY_POINTS])
        self.assertEqual([len(row[4]) for row in rows[:2]], [3, 3])
        self.assertEqual([row[0] for row in self.read(["a"], NOW - 180, NOW, most=2)], [TOO_MANY_POINTS])

    def test_tagged_names(self) -> None:
        self.make("m;a=b", SCHEMAS[0], 1)
        self.assertEqual([row[0] for row in self.read(["m;a=b", "m;a=c"], NOW - 60, NOW)], [0, errno.ENOENT])

    def test_nothing_to_read(self) -> None:
        self.assertEqual(self.read([], NOW - 60, NOW), [])
        self.assertRaises(ValueError, self.read, ["a"], NOW, NOW - 1)

    def test_every_flipped_header_is_harmless(self) -> None:
        file = self.make("a", SCHEMAS[2], 9)
        whole = file.read_bytes()
        python = python_twin("whisperfile")
        for at in range(40):
            for flip in (0x01, 0x80, 0xFF):
                data = bytearray(whole)
                data[at] ^= flip
                file.write_bytes(data)
                rows = self.read(["a"], NOW - 200, NOW, most=1000)
                expected = python.fetch_many(self.root, [b"a"], True, NOW - 200, NOW, NOW, 1000)
                np.testing.assert_equal(plain(rows), plain(expected), f"byte {at} ^ {flip}")


class PythonManyTests(ManyContract):
    """The readable twin."""

    kernel = python_twin("whisperfile")


class NativeManyTests(ManyContract):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE


del ManyContract
