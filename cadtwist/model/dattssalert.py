"""An alert of DaTtSs, and what may be said in one."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["ALERT_KEYS", "OPERATORS", "PROCESS", "Alert", "alert_keys"]

PROCESS = "process"
"""The type of alerts about processes; their path is the process' name."""

ALERT_KEYS: dict[str, tuple[str, ...]] = {
    "c": ("avg", "sum", "age"),
    "g": ("avg", "lst", "max", "min", "sum", "age"),
    "ms": ("avg", "max", "min", "sum", "age"),
    PROCESS: ("age",),
}
"""What may be watched, by type; `age` is the seconds since something was heard last."""

OPERATORS = (">", "<", "=")


class Alert(Struct, frozen=True):
    """Tells when `key` of a statistic is `operator` (above, below, equal to) `value`."""

    id: str
    user: str
    kind: str
    path: str
    key: str
    operator: str
    value: float

    def holds(self, seen: float) -> bool:
        """Tell whether `seen` is what the alert is about."""
        if self.operator == ">":
            return seen > self.value
        return seen < self.value if self.operator == "<" else seen == self.value


def alert_keys(kind: str) -> tuple[str, ...]:
    """Return what may be watched of a type; nothing of one that is unknown."""
    return ALERT_KEYS.get(kind, ())
