"""DaTtSs' single values in datagrams."""

from __future__ import annotations

from collections.abc import Callable

from cadtwist.codec.dattss import Datagram, DattssKeys, read_datagrams
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.telemetry import Account

__all__ = ["ValueIntake"]


class ValueIntake:
    """Reads what came and gives the values to `sink`, which counts them.  Reactor thread.

    `account` counts `bytes`, `lines` and `bad.<kind>`.
    """

    def __init__(
        self,
        keys: DattssKeys,
        prefix: bool,
        sink: Callable[[list[Datagram]], object],
        account: Account,
        bad_log: BadInputLog,
    ) -> None:
        self.account = account
        self._keys = keys
        self._prefix = prefix
        self._sink = sink
        self._bad_log = bad_log

    def datagrams(self, data: bytes, peer: Callable[[int], str], after: Callable[[int], int]) -> int:  # noqa: ARG002
        """Read datagrams that are joined by line feeds; return how many values they have."""
        found, wrong = read_datagrams(data, self._keys, self._prefix)
        self.account.count("bytes", len(data))
        self.account.count("lines", len(found) + len(wrong))
        for bad in wrong:
            self.account.count(f"bad.{bad.kind}")
            self._bad_log("dattss", peer(max(data.find(bad.excerpt), 0)), bad, 1)
        self._sink(found)
        return len(found)
