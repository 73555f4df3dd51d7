"""Messages of carbonapi, against bytes written by hand from their definitions."""

from __future__ import annotations

import contextlib
import math
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.carbonapi import (
    FetchWish,
    SeriesMessage,
    capabilities_v3,
    fetch_wishes,
    glob_patterns,
    globs_v3,
    matches_v2,
    render_v2,
    render_v3,
    retentions_v2,
    retentions_v3,
)
from cadtwist.codec.protowire import WireError, read_fields

SERIES = SeriesMessage("a.b", "a.*", 60, 180, 60, np.array([1.0, math.nan]), "Average", 0.5, 50, 170)


def doubles(*values):
    return struct.pack(f"<{len(values)}d", *values)


class WritingTests(SynchronousTestCase):
    def test_render_2(self):
        inside = b"\x0a\x03a.b\x10\x3c\x18\xb4\x01\x20\x3c\x2a\x10" + doubles(1.0, 0.0) + b"\x32\x02\x00\x01"
        self.assertEqual(render_v2([SERIES]), b"\x0a" + bytes([len(inside)]) + inside)
        empty = SERIES._replace(values=np.zeros(0), start=0)
        self.assertEqual(render_v2([empty]), b"\x0a\x0a\x0a\x03a.b\x18\xb4\x01\x20\x3c")
        self.assertEqual(render_v2([]), b"")

    def test_render_3(self):
        inside = (
            b"\x0a\x03a.b\x12\x03a.*\x1a\x07Average\x20\x3c\x28\xb4\x01\x30\x3c\x3d" + struct.pack("<f", 0.5)
            + b"\x4a\x10" + doubles(1.0, math.nan) + b"\x58\x32\x60\xaa\x01"
        )  # fmt: skip
        self.assertEqual(render_v3([SERIES]), b"\x0a" + bytes([len(inside)]) + inside)
        self.assertEqual(render_v3([SERIES, SERIES]), 2 * render_v3([SERIES]))

    def test_find(self):
        globs = b"\x0a\x01*\x12\x05\x0a\x01a\x10\x01\x12\x03\x0a\x01b"
        matches = [("a", True), ("b", False)]
        self.assertEqual(matches_v2("*", matches), globs)
        self.assertEqual(globs_v3([("*", matches)]), b"\x0a" + bytes([len(globs)]) + globs)

    def test_retentions(self):
        kept = b"\x0a\x01a\x12\x03sum\x18\x90\x1c\x25" + struct.pack("<f", 0.5) + b"\x2a\x04\x08\x3c\x10\x3c"
        self.assertEqual(retentions_v2("a", "sum", 0.5, [(60, 60)]), kept)
        self.assertEqual(retentions_v3([("a", "sum", 0.5, [(60, 60)])]), b"\x0a" + bytes([len(kept)]) + kept)

    def test_capabilities(self):
        self.assertEqual(capabilities_v3(["x", "y"], "h"), b"\x0a\x01x\x0a\x01y\x12\x01h\x28\x01")


class ReadingTests(SynchronousTestCase):
    def test_wishes(self):
        one = b"\x0a\x03a.*\x10\x3c\x18\xb4\x01\x2a\x06f(a.*)\x38\x05"
        two = b"\x0a\x01b\x10" + b"\xff" * 9 + b"\x01"
        data = b"".join(b"\x0a" + bytes([len(wish)]) + wish for wish in (one, two))
        self.assertEqual(fetch_wishes(data), [FetchWish("a.*", 60, 180, "f(a.*)"), FetchWish("b", -1, 0, "b")])
        self.assertEqual(glob_patterns(b"\x0a\x01*\x0a\x03a.b\x10\x05"), ["*", "a.b"])
        self.assertEqual((fetch_wishes(b""), glob_patterns(b"")), ([], []))

    def test_too_much(self):
        with self.assertRaises(WireError):
            glob_patterns(b"\x0a\x01a" * 10_001)
        with self.assertRaises(WireError):
            fetch_wishes(b"\x0a\x03\x0a\x01a" * 10_001)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.binary(max_size=40))
    def test_anything_is_read_or_refused(self, data):
        for read in (fetch_wishes, glob_patterns):
            with contextlib.suppress(WireError):
                self.assertIsInstance(read(data), list)

    def test_what_we_write_can_be_read(self):
        (found,) = read_fields(render_v3([SERIES]))
        fields = dict(read_fields(found[1]))
        self.assertEqual((fields[1], fields[9]), (b"a.b", doubles(1.0, math.nan)))
