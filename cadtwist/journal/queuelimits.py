"""How much a destination's queue may hold, and what it keeps of what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

__all__ = ["QueueLimits"]


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The bounds of a queue; `cadtwist.journal.spool` tells what happens there.  `spool_bytes` 0 = memory only."""

    max_points: float = inf
    max_bytes: int = 8 << 20
    policy: Literal["block", "drop_oldest", "drop_new"] = "drop_new"
    low_watermark: float = 0.8
    hard_share: float = 1.25
    spool_bytes: int = 0
    window_s: float = 1.0
    window_bytes: int = 8 << 20
    replay_bytes_per_s: float = 8 << 20
    window_in_file: bool = True
