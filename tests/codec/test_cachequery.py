"""Requests and answers of carbonlink."""

from __future__ import annotations

import pickle

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec import cachequery as link


def decoded(value: object, protocol: int = 2) -> link.Request:
    data = pickle.dumps(value, protocol)
    return link.decode_request(data, 0, len(data))


class RequestTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        for protocol in range(6):
            self.assertEqual(decoded({"type": "cache-query", "metric": "a.b"}, protocol), link.Query("a.b"))
            self.assertEqual(
                decoded({"type": "cache-query-bulk", "metrics": ["b", "a", "b"]}, protocol), link.BulkQuery(("b", "a"))
            )
            self.assertEqual(
                decoded({"type": "get-metadata", "metric": "a", "key": "k"}, protocol), link.GetMetadata("a", "k")
            )
            self.assertEqual(
                decoded({"type": "set-metadata", "metric": "a", "key": "k", "value": "v"}, protocol),
                link.SetMetadata("a", "k", "v"),
            )
            self.assertEqual(decoded({"type": "bogus"}, protocol), link.UnknownRequest("bogus"))

    def test_garbage(self) -> None:
        for value in (
            [1],
            None,
            {},
            {"metric": "a"},
            {"type": "cache-query"},
            {"type": "cache-query", "metric": ["a"]},
            {"type": "cache-query-bulk"},
            {"type": "cache-query-bulk", "metrics": "abc"},
            {"type": "cache-query-bulk", "metrics": [["a"]]},
            {"type": "get-metadata", "metric": "a"},
            {"type": "set-metadata", "metric": "a", "key": "k"},
            {"type": "set-metadata", "metric": "a", "key": "k", "value": [[]]},
            {"type": ["x"]},
        ):
            with self.assertRaises(link.RequestError):
                decoded(value)
        for data in (b"", b"garbage", b"cos\nsystem\n(S'true'\ntR."):
            with self.assertRaises(link.RequestError):
                link.decode_request(data, 0, len(data))

    def test_an_unknown_type_is_told_shortly(self) -> None:
        asked = decoded({"type": "x" * 100_000})
        assert isinstance(asked, link.UnknownRequest)
        self.assertLess(len(link.unknown_reply(asked)), 400)


class ReplyTests(SynchronousTestCase):
    def test_points(self) -> None:
        reply = link.points_reply(np.array([1.0, 2.5]), np.array([3.0, 4.0]))
        self.assertEqual(reply[:4], len(reply[4:]).to_bytes(4, "big"))
        self.assertEqual(pickle.loads(reply[4:]), {"datapoints": [(1.0, 3.0), (2.5, 4.0)]})

    def test_bulk_metadata_and_errors(self) -> None:
        nothing = np.zeros(0)
        reply = link.bulk_reply(["a"], np.zeros(2, np.uint32), nothing, nothing)
        self.assertEqual(reply[:4], len(reply[4:]).to_bytes(4, "big"))
        self.assertEqual(pickle.loads(reply[4:]), {"datapointsByMetric": {"a": []}})
        self.assertEqual(pickle.loads(link.metadata_reply("average")[4:]), {"value": "average"})
        self.assertEqual(pickle.loads(link.metadata_set_reply("a", "b")[4:]), {"old_value": "a", "new_value": "b"})
        self.assertEqual(pickle.loads(link.error_reply("no")[4:]), {"error": "no"})
