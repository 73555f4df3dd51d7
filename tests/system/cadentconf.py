"""Cadent's main file, for daemons whose accumulators are tested."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["cadent_conf"]


def cadent_conf(folder: Path, ops: int, sink: int, doors: Mapping[str, tuple[str, str]], more: str = "") -> str:
    """Return a file with a section for each of `doors` (URL, type of lines), and `out`, for what accumulators tell.

    All sections send to `sink`, a port; `ops` is the port of operators' pages, `more` are further defaults.
    """
    sections = {**doors, "out": ("backend_only", "graphite")}
    return (
        f'[default]\ninternal_health_server_listen = "127.0.0.1:{ops}"\nwal_dir = "{folder}/wal"\n{more}'
    ) + "".join(
        f'[{name}]\nlisten = "{url}"\nmsg_type = "{kind}"\n[[{name}.servers]]\nservers = ["tcp://127.0.0.1:{sink}"]\n'
        for name, (url, kind) in sections.items()
    )
