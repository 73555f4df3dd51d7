"""What servers of a cluster answer: graphite-web's recorded forms, our own, and garbage."""

from __future__ import annotations

import json
import math
import pickle
import sys
import types

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.carbonapi import SeriesMessage as Message
from cadtwist.codec.carbonapi import fetch_wishes, glob_patterns, globs_v3, render_v3
from cadtwist.codec.clusterwire import (
    FORMS,
    MSGPACK,
    PICKLE,
    VERSION_3,
    AnswerError,
    read_matches,
    read_names,
    read_plain_json,
    read_protocols,
    read_series,
)
from cadtwist.codec.finderwire import fetch_request, find_request
from cadtwist.codec.protowire import chunk, varint

SERIES = {
    "name": "a.b", "start": 60, "end": 240, "step": 60, "values": [1, None, 2.5], "pathExpression": "a.*",
    "valuesPerPoint": 1, "consolidationFunc": "average", "xFilesFactor": 0.5,
}  # fmt: skip
NODES = [{"path": "a.b", "is_leaf": True, "intervals": [[0, 9]]}, {"metric_path": "a.c", "isLeaf": 0}, {"x": 1}]


def encoded(form, value):
    return pickle.dumps(value, 2) if form == PICKLE else msgspec.msgpack.encode(value)


class OldObjects:
    """Classes as graphite-web has them, for as long as something is pickled."""

    def __enter__(self):
        module = types.ModuleType("graphite.intervals")
        for name, base in (("Interval", object), ("IntervalSet", object)):
            setattr(module, name, type(name, (base,), {"__module__": module.__name__}))
        sys.modules.update({"graphite": types.ModuleType("graphite"), module.__name__: module})
        return module

    def __exit__(self, *_):
        del sys.modules["graphite.intervals"], sys.modules["graphite"]


class AnswerTests(SynchronousTestCase):
    def test_matches(self):
        for form in (PICKLE, MSGPACK):
            self.assertEqual(read_matches(form, encoded(form, NODES), "a.*"), [("a.b", True), ("a.c", False)])
            self.assertEqual(read_matches(form, encoded(form, []), "a.*"), [])
        data = globs_v3([("a.*", [("a.b", True), ("a.c", False)]), ("b", [("b", True)])])
        self.assertEqual(read_matches(VERSION_3, data, "a.*"), [("a.b", True), ("a.c", False)])
        self.assertEqual(read_matches(VERSION_3, data, "b"), [("b", True)])
        self.assertEqual(read_matches(VERSION_3, b"", "b"), [])
        data = globs_v3([("b", []), ("a/*", [("a.b", True)])])  # as go-carbon does
        self.assertEqual(read_matches(VERSION_3, data, "a.*"), [("a.b", True)])

    def test_pickles_with_intervals_of_their_own(self):
        """graphite-web's find has objects in it, in every protocol of pickle."""
        with OldObjects() as module:
            interval, several = module.Interval(), module.IntervalSet()
            interval.start, interval.end, several.intervals = 0.0, 9.0, [interval]
            for protocol in range(6):
                data = pickle.dumps([{"path": "a", "is_leaf": True, "intervals": several}], protocol)
                self.assertEqual(read_matches(PICKLE, data, "a"), [("a", True)])

    def test_series(self):
        for form in (PICKLE, MSGPACK):
            (one,) = read_series(form, encoded(form, [SERIES]))
            self.assertEqual(one[:5], ("a.b", "a.*", 60, 240, 60))
            np.testing.assert_array_equal(one.values, [1.0, math.nan, 2.5])
        without = {key: SERIES[key] for key in ("name", "start", "end", "step", "values")}
        self.assertEqual(read_series(MSGPACK, encoded(MSGPACK, [without]))[0].expression, "a.b")

    def test_series_3(self):
        values = np.array([1.0, math.nan, 2.5])
        (one, other) = read_series(VERSION_3, render_v3([Message("a.b", "a.*", 60, 240, 60, values, "Average", 0.5),
                                                         Message("c", "", 60, 60, 60, np.zeros(0))]))  # fmt: skip
        self.assertEqual(one[:5], ("a.b", "a.*", 60, 240, 60))
        self.assertEqual(one.consolidation, "average")
        np.testing.assert_array_equal(one.values, values)
        self.assertEqual((other.expression, len(other.values)), ("c", 0))

    def test_doubles_one_by_one(self):
        message = chunk(1, b"a") + b"\x20" + varint(60) + b"\x30" + varint(60)
        message += b"".join(b"\x49" + np.float64(value).tobytes() for value in (1.0, 2.0))
        (one,) = read_series(VERSION_3, chunk(1, message))
        self.assertEqual(one.values.tolist(), [1.0, 2.0])

    def test_questions_are_read_by_our_own_doors(self):
        self.assertEqual(glob_patterns(find_request(["a.*", "é"])), ["a.*", "é"])
        (one, two) = fetch_wishes(fetch_request(["a.*", "b"], 5, 1 << 33))
        self.assertEqual((one, two), (("a.*", 5, 1 << 33, "a.*"), ("b", 5, 1 << 33, "b")))

    def test_json(self):
        self.assertEqual(read_names(b'["a", "b"]'), ["a", "b"])
        self.assertEqual(read_plain_json(b'{"a": null}'), {"a": None})
        told = {"supportedProtocols": ["carbonapi_v3_pb"], "name": "h"}
        self.assertEqual(read_protocols(json.dumps(told).encode()), (("carbonapi_v3_pb",), ""))
        told["program"] = "cadtwist"
        self.assertEqual(read_protocols(json.dumps(told).encode()), (("carbonapi_v3_pb",), "cadtwist"))


class GarbageTests(SynchronousTestCase):
    def test_what_cannot_be(self):
        for change in ({"step": 0}, {"step": -1}, {"start": -1}, {"start": 1 << 40}, {"values": "x"}, {"values": [[]]},
                       {"name": 5}, {"step": 1 << 40}, {"start": "now"}):  # fmt: skip
            for form in (PICKLE, MSGPACK):
                self.assertRaises(AnswerError, read_series, form, encoded(form, [{**SERIES, **change}]))
        for read in (read_names, read_plain_json, read_protocols):
            for data in (b"", b"<html>", b"\xff", b"[" * 100_000):
                self.assertRaises(AnswerError, read, data)
        self.assertRaises(AnswerError, read_names, b"[1]")
        self.assertRaises(AnswerError, read_protocols, b"[]")
        ragged = chunk(1, chunk(1, b"a") + b"\x20" + varint(60) + b"\x30" + varint(60) + chunk(9, b"1234567"))
        self.assertRaises(AnswerError, read_series, VERSION_3, ragged)

    def test_a_pickle_executes_nothing(self):
        for data in (b"cos\nsystem\n(S'true'\ntR.", b"c__builtin__\neval\n(S'1'\ntR.", b"cbuiltins\nlist\n)R.",
                     b"Px\n.", b"\x80\x02cposix\nsystem\n."):  # fmt: skip
            for read in (read_series, lambda form, data: read_matches(form, data, "")):
                self.assertRaises(AnswerError, read, PICKLE, data)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.sampled_from(FORMS), st.binary(max_size=60))
    def test_random_bytes(self, form, data):
        for read in (read_series, lambda form, data: read_matches(form, data, "a")):
            try:
                read(form, data)
            except AnswerError:
                continue

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.sampled_from(FORMS), st.data())
    def test_damaged_answers(self, form, data):
        message = Message("a.b", "a.*", 60, 240, 60, np.array([1.0, 2.0]))
        whole = render_v3([message]) if form == VERSION_3 else encoded(form, [SERIES])
        place = data.draw(st.integers(0, len(whole) - 1))
        broken = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
        for text in (broken, whole[:place]):
            try:
                read_series(form, text)
            except AnswerError:
                continue
