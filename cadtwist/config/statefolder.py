"""Where a daemon keeps its state when nobody says it."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["state_folder"]


def state_folder(environ: Mapping[str, str], name: str, user: int) -> str:
    """Return where a daemon called `name`, run by the user of that number, keeps its state unless told otherwise.

    Below systemd's STATE_DIRECTORY, /var/lib/cadtwist for root, or else XDG_STATE_HOME or ~/.local/state.
    """
    managed = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if managed:
        return os.path.join(managed, name)
    if user == 0:
        return os.path.join("/var/lib/cadtwist", name)
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME", "."), ".local", "state")
    return os.path.join(home, "cadtwist", name)
