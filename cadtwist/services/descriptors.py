"""How many files the process may have open, and how many of them the store may keep."""

from __future__ import annotations

import contextlib
import math
import resource

__all__ = ["file_limit", "files_to_keep", "raise_file_limit", "set_file_limit"]

_OTHERS = 1024
"""Descriptors for the log, log files, listeners, web processes and their connections."""

_LEAST = 16


def raise_file_limit() -> float:
    """Raise the soft limit of open files to the hard one where that is possible; return what holds then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return file_limit()


def set_file_limit(files: int) -> None:
    """Set the limit of open files, the hard one too where it is lower; OSError or ValueError where that cannot be."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard if hard == resource.RLIM_INFINITY else max(hard, files)))


def file_limit() -> float:
    """Return how many files this process may have open, inf for no limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if soft == resource.RLIM_INFINITY else soft


def files_to_keep(wanted: int, limit: float, max_connections: float) -> int:
    """Return how many descriptors the store may keep open of `wanted`, so that connections and the log have theirs.

    Without a bound of connections a quarter of `limit` is left to them.
    """
    if math.isinf(limit):
        return wanted
    connections = limit / 4 if math.isinf(max_connections) else max_connections
    left = limit - min(_OTHERS, limit / 4) - connections
    return int(min(wanted, max(_LEAST, left)))
