"""Counters, gauges and the ledger: what every part says of itself.  No I/O, no clock, no reactor.

Each part owns one `Account`.  Reactor-thread only, except where a docstring says otherwise: counters that
a thread or kernel keeps are published through `gauge` callables.

The ledger of a part balances by itself::

    received + made = out + held + merged + dropped

`received` comes from upstream, `made` is born here (flushed windows, own metrics, replayed log), `out` went to
the next part, `held` is asked at reading time, `merged` replaced a datapoint of the same metric and time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Account", "Telemetry"]


def _nothing_held() -> int:
    return 0


@dataclass
class Account:
    """One part's line in the ledger, in datapoints, and its other counters."""

    name: str
    received: int = 0
    made: int = 0
    out: int = 0
    merged: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    held: Callable[[], int] = _nothing_held
    counters: dict[str, int] = field(default_factory=dict)
    gauges: dict[str, Callable[[], float]] = field(default_factory=dict)

    def drop(self, reason: str, points: int = 1) -> None:
        """Count `points` datapoints as deliberately lost for `reason`."""
        self.dropped[reason] = self.dropped.get(reason, 0) + points

    def count(self, what: str, amount: int = 1) -> None:
        """Add to a counter that is no part of the balance (connections, bad lines, flushes ...)."""
        self.counters[what] = self.counters.get(what, 0) + amount

    def gauge(self, what: str, read: Callable[[], float]) -> None:
        """Publish a value that is read when somebody asks."""
        self.gauges[what] = read

    def balance(self) -> int:
        """Return received + made - out - held - merged - dropped: zero when nothing is lost silently."""
        lost = sum(self.dropped.values())
        return self.received + self.made - self.out - self.held() - self.merged - lost

    def snapshot(self) -> dict[str, object]:
        """Return the account as plain values, for JSON."""
        return {
            "name": self.name,
            "received": self.received,
            "made": self.made,
            "out": self.out,
            "held": self.held(),
            "merged": self.merged,
            "dropped": dict(self.dropped),
            "balance": self.balance(),
            "counters": dict(self.counters),
            "gauges": {what: read() for what, read in self.gauges.items()},
        }


class Telemetry:
    """All accounts of a process, in the order in which the graph was built."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def account(self, name: str) -> Account:
        """Return the account called `name`, made at the first call; a reload finds its old one again."""
        found = self.accounts.get(name)
        if found is None:
            found = self.accounts[name] = Account(name)
        return found

    def settle(self, reason: str) -> int:
        """Count as dropped for `reason` what stands in no counter; return how many datapoints.

        For use after a fault within a Batch, when nothing else is under way: what a part had counted as received, and
        neither kept nor passed on when it failed, is lost there.
        """
        lost = 0
        for account in self.accounts.values():
            missing = account.balance()
            if missing > 0:
                account.drop(reason, missing)
                lost += missing
        return lost

    def unbalanced(self) -> dict[str, int]:
        """Return, by account, how many datapoints stand in no counter, where that is not 0."""
        return {account.name: missing for account in self.accounts.values() if (missing := account.balance())}

    def ledger(self) -> list[dict[str, object]]:
        """Return every account's snapshot."""
        return [account.snapshot() for account in self.accounts.values()]
