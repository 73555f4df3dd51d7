"""With what status, and which words, a process ends."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["EXIT_CONFIG", "EXIT_LEGACY", "exit_with", "fail_with"]

EXIT_CONFIG = 2
EXIT_LEGACY = 1


def fail_with(problems: list[str], status: int) -> NoReturn:
    """Print all problems to stderr and exit with `status`."""
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 (before there is a log)
    raise SystemExit(status)


def exit_with(status: int) -> None:
    """End the process with `status`: the reactor's end knows no other than zero."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
