"""Every recorded line over TCP, in several cuts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.protocols.parts import NOW, Receiving

RECORDED = json.loads((Path(__file__).parents[1] / "data/carbon/line_receiver.json").read_text())["tests"]

LINES = {
    "line of 16384 bytes accepted": b"x" * 16371 + b" 1 1700000000\n",
    "line of 16385 bytes closes": b"y" * 16372 + b" 1 1700000000\nt.r2 1 1700000000\n",
}
"""The recordings that only describe what was sent."""

ANSWERS = {
    # carbon had written the point to its file when it was asked
    "plain LF (already written": {"t.a": [(1.7e9, 1.0)]},
    "timestamp -1 = now": {"t.f": [(NOW, 1.0)]},
    "timestamp -1.9 = now too": {"t.t": [(NOW, 1.0)]},
    # the name as it was sent: normalising is a stage's business, not the receiver's
    "tags normalised": {"t.v;b=2;a=1": [(1.7e9, 1.0)]},
    "leading tilde stripped": {"~t.y": [(1.7e9, 1.0)]},
    "openmetrics style": {'t.z{b="2",a="1"}': [(1.7e9, 1.0)]},
    "line of 16384 bytes": {"x" * 16371: [(1.7e9, 1.0)]},
    # deliberately otherwise: carbon closes the connection (or drops the datagram), we refuse the one line
    "nan timestamp": {"t.n2": [(1.7e9, 1.0)]},
    "inf timestamp": {"t.o2": [(1.7e9, 1.0)]},
    "invalid utf-8": {"t.p2": [(1.7e9, 1.0)]},
    "line of 16385 bytes": {"t.r2": [(1.7e9, 1.0)]},
    "UDP: invalid utf-8": {"u.e": [(1.7e9, 1.0)]},
    "UDP: inf timestamp": {"u.i": [(1.7e9, 2.0)]},
}
"""By the beginning of a description: what we answer where the recording is not simply repeated."""


def sent(case: dict[str, Any]) -> bytes:
    return LINES.get(case["desc"]) or bytes.fromhex(case["sent_hex"])


def expected(case: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    for start, answer in ANSWERS.items():
        if case["desc"].startswith(start):
            return answer
    return {
        name: [(float(when), float(what)) for when, what in points] for name, points in case["cached"].items() if points
    }


def last_of_each(points: list[tuple[str, float, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return what a cache would hold: the newest value of each name and time."""
    found: dict[str, dict[float, float]] = {}
    for name, when, what in points:
        found.setdefault(name, {})[when] = what
    return {name: list(held.items()) for name, held in found.items()}


class RecordedLinesTests(SynchronousTestCase):
    def check(self, size: int) -> None:
        for case in RECORDED:
            if case["desc"].startswith("UDP"):
                continue
            receiving = Receiving()
            connection, transport = receiving.connect()
            data = sent(case)
            for start in range(0, len(data), size):
                connection.dataReceived(data[start : start + size])
            receiving.turn()
            self.assertEqual(last_of_each(receiving.sink.points), expected(case), case["desc"])
            self.assertFalse(transport.disconnecting, case["desc"])

    def test_whole(self) -> None:
        self.check(1 << 20)

    def test_in_pieces(self) -> None:
        for size in (3, 17, 4096):
            self.check(size)

    def test_byte_by_byte(self) -> None:
        self.check(1)
