"""A server for clients: it remembers what it was asked, and is away when the test says so."""

from __future__ import annotations

import json
from typing import Any

from cadtwist.client.settings import ClientSettings
from cadtwist.codec.dattss import DattssKeys, read_put
from cadtwist.model.partial import Partial

__all__ = ["AUTH", "SETTINGS", "FakeServer"]

AUTH = DattssKeys("secret").key("user1")
SETTINGS = ClientSettings(auth=AUTH, process="web", push_period_s=5.0)


class FakeServer:
    """`answers` to PUT /process come in order, then that of the last; an exception among them is raised."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.status = 200
        self.puts: list[list[Partial]] = []
        self.polls: list[Any] = []
        self.answers: list[Any] = [(200, b"{}")]

    def ask(self, path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        """Answer a PUT; raises what stands for no answer."""
        assert seconds > 0
        if path == f"/process?auth={AUTH}":
            self.polls.append(json.loads(body))
            answer: Any = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]
        assert path == f"/agg?auth={AUTH}", path
        if self.away is not None:
            raise self.away
        if self.status == 200:
            put = read_put(body)
            self.puts.append([partial for found in put.partials.values() for partial in found])
        return self.status, b"{}"

    def total(self) -> float:
        """Return the sum of all values of counters that were taken."""
        return sum(partial.sum for put in self.puts for partial in put if partial.typ == "c")
