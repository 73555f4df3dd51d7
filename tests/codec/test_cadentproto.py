"""Cadent's messages, read back field by field."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec import cadentproto
from cadtwist.codec.cadentproto import Columns
from cadtwist.codec.protowire import read_fields

NOW = 1_700_000_040
NODE = {"text": "b", "expandable": 0, "leaf": 1, "id": "a.b", "path": "a.b", "allowChildren": 0, "uniqueid": "a.b"}


def columns(times: list[int], values: list[float]) -> Columns:
    return np.array(times, np.int64), np.array(values, np.float64)


def fields(message: Any) -> list[tuple[int, Any]]:
    return list(read_fields(message))


class CadentProtoTests(SynchronousTestCase):
    def test_a_body_begins_with_its_length(self) -> None:
        self.assertEqual(cadentproto.framed(b"abc"), b"\0\0\0\3abc")

    def test_names(self) -> None:
        ((number, node),) = fields(cadentproto.nodes_message([NODE]))
        self.assertEqual(number, 1)
        self.assertEqual(fields(node), [(1, b"b"), (3, 1), (4, b"a.b"), (6, b"a.b"), (7, b"a.b")])
        self.assertEqual(fields(cadentproto.names_message(["a", "ü"])), [(2, b"a"), (2, "ü".encode())])
        ((_, tag),) = fields(cadentproto.tags_message([("host", "x")]))
        self.assertEqual(fields(tag), [(3, b"host"), (4, b"x")])

    @given(st.lists(st.tuples(st.integers(0, (1 << 35) - 1), st.floats(allow_nan=False))))
    def test_points(self, pairs: list[tuple[int, float]]) -> None:
        some = columns([time for time, _ in pairs], [value for _, value in pairs])
        ((_, item),) = fields(cadentproto.graphite_items([("a", True, some)]))
        told = fields(item)
        self.assertEqual(told[:3], [(1, b"a"), (2, 1), (3, 1)])
        points = [dict(fields(point)) for number, point in told[3:] if number == 4]
        self.assertEqual([(point[1], point[2]) for point in points], pairs)

    def test_metrics(self) -> None:
        envelope = {"real_start": 1, "real_end": 2, "start": 3, "end": 4, "from": 3, "to": 4, "step": 60}
        message = cadentproto.whisper_item(envelope, [("a.b", False, columns([NOW], [np.nan]))])
        told = fields(message)
        self.assertEqual(told[:7], [(1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (6, 4), (7, 60)])
        entry = dict(fields(told[7][1]))
        self.assertEqual((told[7][0], entry[1]), (8, b"a.b"))
        series = fields(entry[2])
        self.assertEqual(series[:2], [(1, b"a.b"), (4, b"a.b")])
        point = dict(fields(series[2][1]))
        self.assertEqual((series[2][0], point[1], np.isnan(point[2])), (5, NOW, True))

    def test_summaries(self) -> None:
        told = {"metric": "a", "id": "a", "in_cache": True, "using_cache": True}
        told |= {"real_start": 1, "real_end": 2, "start": 3, "end": 4, "step": 60}
        ((_, item),) = fields(cadentproto.raw_items([(told, columns([NOW], [2.5]))]))
        *head, (number, point), cached, using = fields(item)
        self.assertEqual(head, [(1, b"a"), (2, b"a"), (3, 1), (4, 2), (5, 3), (6, 4), (7, 60)])
        self.assertEqual(fields(point), [(1, NOW), (3, 2.5), (4, 2.5), (5, 2.5), (6, 2.5), (7, 1)])
        self.assertEqual((number, cached, using), (11, (12, 1), (13, 1)))

    def test_what_waits_in_memory(self) -> None:
        whole, one = fields(cadentproto.cached_points(columns([NOW], [2.5])))
        self.assertEqual(whole, (1, 1))
        ((number, small),) = fields(one[1])
        self.assertEqual((number, fields(small)), (4, [(1, NOW * 1_000_000_000), (2, 2.5)]))
        self.assertEqual(struct.unpack("<d", cadentproto.cached_points(columns([NOW], [0.0]))[-8:]), (0.0,))
