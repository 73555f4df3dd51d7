"""Test data on disk: `<case>.bad.<extension>` with the expected reports in `<case>.bad.expected`."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["bad_cases"]


def bad_cases(folder: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (file name, text, expected reports)."""
    for name in sorted(os.listdir(folder)):
        stem, _ = os.path.splitext(name)
        if stem.endswith(".bad") and not name.endswith(".expected"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read()
            with open(os.path.join(folder, f"{stem}.expected"), encoding="utf-8") as file:
                yield name, text, file.read().splitlines()
