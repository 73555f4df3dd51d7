"""What every daemon tells of its process."""

from __future__ import annotations

import os
import time

from cadtwist import __version__
from cadtwist.kernels import active

__all__ = ["process_facts"]


def process_facts() -> dict[str, object]:
    """Return version, kernels, number and time of this process, as the pages for operators show them."""
    return {
        "version": __version__,
        "kernels": "native" if active.NATIVE else "python",
        "pid": os.getpid(),
        "time": int(time.time()),
    }
