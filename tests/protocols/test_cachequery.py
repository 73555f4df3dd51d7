"""Every recorded carbonlink exchange, byte for byte, and slow or hostile clients."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.frames import frame
from cadtwist.errors import CadtwistError, StorageError
from cadtwist.model.batch import Floats, Ids
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.cachequery import CacheQueryFactory
from cadtwist.telemetry import Account

RECORDED = json.loads((Path(__file__).parents[1] / "data/carbon/carbonlink_transcripts.json").read_text())[
    "transcripts"
]


class FakeAnswers:
    """The cache as it was when the recordings were made."""

    def __init__(self) -> None:
        self.points = {"t.x": [(1.7e9, 2.0), (1.70000006e9, 3.0)], "t.e": [(1700000000.75, 1.0)]}
        self.method = "average"

    def peek(self, metrics: Sequence[str], most: int) -> tuple[Ids, Floats, Floats]:
        rows = [self.points.get(metric, []) for metric in metrics]
        held = np.array([point for each in rows for point in each], np.float64).reshape(-1, 2)
        if len(held) > most:
            raise CadtwistError(f"{len(held)} datapoints, at most {most}")
        return np.cumsum([0, *map(len, rows)]).astype(np.uint32), held[:, 0], held[:, 1]

    def get_metadata(self, metric: str, key: str) -> object:
        if metric != "t.a":
            raise StorageError(f"no file of {metric}")
        return self.method

    def set_metadata(self, metric: str, key: str, value: object) -> tuple[object, object]:
        old, self.method = self.method, str(value)
        return old, value


class CacheQueryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.account = Account("cachequery")
        self.factory = CacheQueryFactory(FakeAnswers(), self.account, BadInputLog(lambda: 0.0), 1 << 16)

    def connect(self) -> tuple[Any, StringTransport]:
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        connection: Any = self.factory.buildProtocol(transport.getPeer())
        connection.makeConnection(transport)
        return connection, transport

    def test_recordings(self) -> None:
        for case in RECORDED:
            connection, transport = self.connect()
            connection.dataReceived(bytes.fromhex(case["request_hex"]))
            self.assertEqual(transport.value().hex(), case.get("reply_hex", ""), case["desc"])
            self.assertEqual(transport.disconnecting, case.get("connection_after") == "closed", case["desc"])

    def test_many_requests_in_any_cut(self) -> None:
        cases = [case for case in RECORDED if "reply_hex" in case]
        stream = b"".join(bytes.fromhex(case["request_hex"]) for case in cases)
        for size in (1, 7, len(stream)):
            self.setUp()
            connection, transport = self.connect()
            for start in range(0, len(stream), size):
                connection.dataReceived(stream[start : start + size])
            self.assertEqual(transport.value().hex(), "".join(case["reply_hex"] for case in cases))
        self.assertEqual(self.account.counters["bulk_metrics"], 3)

    def test_a_failing_question_is_answered(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(frame(pickle.dumps({"type": "get-metadata", "metric": "no.such", "key": "k"})))
        self.assertEqual(pickle.loads(transport.value()[4:]), {"error": "StorageError: no file of no.such"})
        self.assertFalse(transport.disconnecting)

    def test_too_much_at_once_is_an_error(self) -> None:
        self.factory._answers.points["t.x"] = [(1.0, 1.0)] * 500_001  # type: ignore[attr-defined]
        connection, transport = self.connect()
        for asked in (
            {"type": "cache-query", "metric": "t.x"},
            {"type": "cache-query-bulk", "metrics": ["t.e", "t.x"]},
        ):
            connection.dataReceived(frame(pickle.dumps(asked)))
            self.assertEqual(set(pickle.loads(transport.value()[4:])), {"error"})
            transport.clear()
        self.assertEqual(self.account.counters["too_broad"], 2)
        metrics = [f"{number:x}" for number in range(20_001)]
        reply = self.factory.answer(pickle.dumps({"type": "cache-query-bulk", "metrics": metrics}))
        self.assertIn("20001 metrics", pickle.loads(reply[4:])["error"])
        self.assertFalse(transport.disconnecting)

    def test_too_long_a_request_closes_it(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(frame(pickle.dumps({"type": "cache-query", "metric": "t.x"})) + b"\x00\x01\x00\x01")
        self.assertTrue(transport.value())
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.account.counters["refused"], 1)

    def test_nothing_is_answered_after_garbage(self) -> None:
        connection, _ = self.connect()
        good = frame(pickle.dumps({"type": "cache-query", "metric": "t.x"}))
        connection.dataReceived(good + frame(b"garbage") + good)
        connection.dataReceived(good)
        self.assertEqual(len(self.factory.connections), 1)
        self.assertEqual(self.account.counters["queries"], 1)
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.factory.connections), 0)

    def test_a_client_that_does_not_read_is_not_read(self) -> None:
        connection, transport = self.connect()
        good = frame(pickle.dumps({"type": "cache-query", "metric": "t.x"}))
        connection.dataReceived(good)
        one = len(transport.value())
        transport.producer.pauseProducing()
        self.assertEqual(transport.producerState, "paused")
        connection.dataReceived(good * 5)
        self.assertEqual(len(transport.value()), one)
        transport.producer.resumeProducing()
        self.assertEqual(len(transport.value()), 6 * one)
        self.assertEqual(transport.producerState, "producing")
