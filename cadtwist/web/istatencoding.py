"""How istatd chooses a compression by Accept-Encoding, and compresses."""

from __future__ import annotations

import gzip
import zlib

__all__ = ["chosen_encoding", "compressed"]


def chosen_encoding(accepted: str | None) -> str | None:
    """Return `gzip`, `deflate` or None for what a client accepts.

    The kinds with the greatest weight, unless that is 0, are candidates; `*` stands for the one not named.
    """
    if accepted is None:
        return None
    weights: dict[str, int] = {}
    for item in accepted.split(","):
        kind, *options = (part.strip().lower() for part in item.split(";"))
        weights[kind] = _weight(options)
    if "*" in weights:
        for kind in ("gzip", "deflate"):
            weights.setdefault(kind, weights["*"])
    best = max(weights.values(), default=0)
    return next((kind for kind in ("gzip", "deflate") if best > 0 and weights.get(kind) == best), None)


def compressed(body: bytes, encoding: str) -> bytes:
    """Return a body in an encoding that `chosen_encoding` returned: quickly rather than small."""
    return gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)


def _weight(options: list[str]) -> int:
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            try:
                return int(float(value) * 100)
            except (ValueError, OverflowError):
                return 0
    return 100
