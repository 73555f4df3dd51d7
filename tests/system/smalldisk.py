"""A small disk for a test, which can be filled up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.system.case import SystemTestCase

__all__ = ["fill", "mount_small"]


def mount_small(case: SystemTestCase, where: Path, size_bytes: int) -> None:
    """Mount a tmpfs at `where` for the time of a test; the test is skipped where that cannot be done."""
    where.mkdir(parents=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        case.skipTest("mounting a small tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        case.skipTest(f"no small tmpfs can be mounted here: {done.stderr.strip()}")
    case.addCleanup(subprocess.run, ["umount", "--lazy", str(where)], check=False)


def fill(ballast: Path) -> None:
    """Write a file until not even a sector is left."""
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
