"""Frames, however they are cut."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import Frames, frame


class FramesTests(SynchronousTestCase):
    def test_any_cut_gives_the_same_payloads(self) -> None:
        @settings(max_examples=200, deadline=None, database=None)
        @given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=10))
        def check(payloads: list[bytes], places: list[int]) -> None:
            stream = b"".join(map(frame, payloads))
            cuts = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
            frames = Frames(64)
            found = []
            for start, end in itertools.pairwise(cuts):
                data, spans = frames.feed(stream[start:end])
                found += [data[a:b] for a, b in spans]
            self.assertEqual(found, payloads)
            self.assertEqual((frames.lost, frames.held), (False, 0))

        check()

    def test_too_long_a_frame_ends_it(self) -> None:
        frames = Frames(3)
        data, spans = frames.feed(frame(b"abc") + b"\x00\x00\x00\x04" + frame(b"x"))
        self.assertEqual([data[a:b] for a, b in spans], [b"abc"])
        self.assertTrue(frames.lost)
        self.assertEqual(frames.feed(frame(b"x")), (b"", []))

    def test_held_bytes_are_bounded(self) -> None:
        frames = Frames(1000)
        frames.feed(b"\x00\x00\x03\xe8")
        for _ in range(999):
            frames.feed(b"x")
        self.assertEqual(frames.held, 1003)
        data, spans = frames.feed(b"y")
        self.assertEqual(([b - a for a, b in spans], frames.held, data[-1:]), ([1000], 0, b"y"))
