"""What a benchmark says: rows with a figure, its bar and a mark, as a table for people and JSON for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

__all__ = ["Row", "as_json", "as_table", "machine"]


@dataclass(frozen=True)
class Row:
    """One figure.  `bar` is its highest allowed value (`at_least`: its lowest), None where there is no bar."""

    group: str
    what: str
    peer: str
    figure: float
    unit: str
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Figure ÷ bar; None without a bar, or where the bar is nothing at all."""
        return self.figure / self.bar if self.bar else None

    @property
    def passed(self) -> bool | None:
        """Tell whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar


_MARKS = {True: "pass", False: "FAIL", None: ""}


def _short(figure: float) -> str:
    if not isfinite(figure):
        return str(figure)
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}" if abs(figure) < 100 else f"{figure:.0f}"


def as_table(rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    heads = ("group", "what", "peer", "figure", "unit", "bar", "figure ÷ bar", "", "note")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        bar = "" if row.bar is None else ("≥ " if row.at_least else "≤ ") + _short(row.bar)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (row.group, row.what, row.peer, _short(row.figure), row.unit, bar, ratio, _MARKS[row.passed], row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Return what the figures depend on, in general words."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release().split("-", maxsplit=1)[0],
        "python": platform.python_version(),
    }


def as_json(rows: Iterable[Row], path: Path) -> None:
    """Write the rows and the machine to `path`."""
    plain = [{**asdict(row), "ratio": row.ratio, "passed": row.passed} for row in rows]
    path.write_text(json.dumps({"machine": machine(), "rows": plain}, indent=1) + "\n")
