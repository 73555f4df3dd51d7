"""Where the chance in tests comes from: a run tells about the code, and so each draws the same cases.

`CADTWIST_SEED=7` draws others, `CADTWIST_SEED=random` others each time; what fails then prints how to repeat it.
"""

from __future__ import annotations

import os
import random

__all__ = ["EXPLORES", "SEED", "chance_of", "told"]

_TOLD = os.environ.get("CADTWIST_SEED", "")

EXPLORES = bool(_TOLD)
"""Whether Hypothesis draws anew, too."""

SEED = random.SystemRandom().randrange(1 << 32) if _TOLD == "random" else int(_TOLD or 1)


def chance_of(name: str) -> random.Random:
    """Return the chance of the test of that name."""
    return random.Random(f"{SEED}/{name}")


def told() -> str:
    """Return what repeats the run, for messages."""
    return f"CADTWIST_SEED={SEED}"
