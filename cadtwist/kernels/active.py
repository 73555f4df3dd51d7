"""Chooses, in one place, which twin of the kernels serves: native if all of them are there, else Python.

`CADTWIST_PURE=1` in the environment forces Python.  It is one choice for all kernels, because native ones use each
other's memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING

__all__ = [
    "KERNELS",
    "NATIVE",
    "arcs",
    "buckets",
    "ceresfile",
    "columns",
    "encode",
    "flood",
    "hotpoints",
    "index",
    "jobwriter",
    "picklepoints",
    "points",
    "pointtexts",
    "relaylines",
    "samples",
    "scatter",
    "statfile",
    "statlines",
    "statsdparse",
    "table",
    "udpread",
    "udpsend",
    "whisperfile",
    "whisperread",
]

KERNELS = (
    "table",
    "arcs",
    "columns",
    "buckets",
    "picklepoints",
    "points",
    "hotpoints",
    "pointtexts",
    "index",
    "jobwriter",
    "whisperfile",
    "whisperread",
    "ceresfile",
    "udpread",
    "udpsend",
    "statfile",
    "relaylines",
    "scatter",
    "statlines",
    "samples",
    "statsdparse",
    "encode",
    "flood",
)


def _native_is_complete() -> bool:
    if os.environ.get("CADTWIST_PURE") == "1":
        return False
    try:
        importlib.import_module(f"cadtwist.kernels.{KERNELS[0]}")
    except ImportError:
        return False
    return all(importlib.util.find_spec(f"cadtwist.kernels.{name}") is not None for name in KERNELS)


NATIVE: bool = _native_is_complete()
"""True when the native twins serve."""

if TYPE_CHECKING:
    from cadtwist.kernels import arcs_py as arcs
    from cadtwist.kernels import buckets_py as buckets
    from cadtwist.kernels import ceresfile_py as ceresfile
    from cadtwist.kernels import columns_py as columns
    from cadtwist.kernels import encode_py as encode
    from cadtwist.kernels import flood_py as flood
    from cadtwist.kernels import hotpoints_py as hotpoints
    from cadtwist.kernels import index_py as index
    from cadtwist.kernels import jobwriter_py as jobwriter
    from cadtwist.kernels import picklepoints_py as picklepoints
    from cadtwist.kernels import points_py as points
    from cadtwist.kernels import pointtexts_py as pointtexts
    from cadtwist.kernels import relaylines_py as relaylines
    from cadtwist.kernels import samples_py as samples
    from cadtwist.kernels import scatter_py as scatter
    from cadtwist.kernels import statfile_py as statfile
    from cadtwist.kernels import statlines_py as statlines
    from cadtwist.kernels import statsdparse_py as statsdparse
    from cadtwist.kernels import table_py as table
    from cadtwist.kernels import udpread_py as udpread
    from cadtwist.kernels import udpsend_py as udpsend
    from cadtwist.kernels import whisperfile_py as whisperfile
    from cadtwist.kernels import whisperread_py as whisperread
else:

    def __getattr__(name: str) -> object:
        """Import a kernel when it is first asked for: a relay has no use for those that write files."""
        if name not in KERNELS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = importlib.import_module(f"cadtwist.kernels.{name}{'' if NATIVE else '_py'}")
        globals()[name] = found
        return found
