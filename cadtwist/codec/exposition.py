"""Names with carets as metrics of Prometheus, and the lines of its text format.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from cadtwist.codec.istat import expanded, number_text
from cadtwist.kernels.statformat import munge

__all__ = ["LABELS", "Metric", "line", "metrics_of", "read_labels", "type_line"]

LABELS = ("host", "role", "class", "pool", "cluster")
"""Levels behind a caret that are labels, beside those of a file."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Metric(NamedTuple):
    """One metric: its name, and (name, value) of each label."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


def read_labels(text: str) -> frozenset[str]:
    """Return the names of labels in a file, one a line."""
    return frozenset(found for line in text.splitlines() if (found := line.strip()))


def metrics_of(raw: bytes, labels: Collection[str] = LABELS, translate: bool = True) -> tuple[Metric, ...]:
    """Return the metrics that a name means, carets and all.

    What stands behind a caret as `LABEL.VALUE` is a label of what stands before the first one; a label that is there
    already begins another metric.  Anything else behind a caret is a metric of its own.  Without `translate` names are
    those of the store.
    """
    text = raw.removeprefix(b"*").decode("utf-8", "replace")
    base, caret, _ = text.partition("^")
    sets: list[dict[str, str]] = []
    found: list[Metric] = []
    for each in expanded(text.encode("utf-8")):
        whole = each.decode("utf-8", "replace")
        label = _label(whole[len(base) :], labels) if caret and base else None
        if label is None:
            found.append(Metric(_named(whole, translate)))
        elif sets and label[0] not in sets[-1]:
            sets[-1][label[0]] = label[1]
        else:
            sets.append(dict([label]))
    name = _named(base, translate)
    return (*(Metric(name, tuple((_named(k, translate), v) for k, v in each.items())) for each in sets), *found)


def _label(rest: str, labels: Collection[str]) -> tuple[str, str] | None:
    """Return name and value of a label, the longest name that fits; None for what is none."""
    known = [name for name in labels if rest.startswith(f".{name}.") and len(rest) > len(name) + 2]
    best = max(known, key=len, default=None)
    return None if best is None else (best, rest[len(best) + 2 :])


def _named(text: str, translate: bool) -> str:
    if not translate:
        return munge(text.encode("utf-8", "replace")).decode("ascii")
    name = _NO_NAME.sub("_", text).lower()
    return f"_{name}" if name[:1].isdigit() else name


def type_line(name: str, counter: bool) -> str:
    """Return what says of which type a metric is."""
    return f"# TYPE {name} {'counter' if counter else 'gauge'}\n"


def line(metric: Metric, value: float, time_ms: int, counter: bool, short: bool = False) -> str:
    """Return one value; that of a counter has the label `counter`."""
    labels = [*metric.labels, *((("counter", "1"),) if counter else ())]
    shown = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
    return f"{metric.name}{f'{{{shown}}}' if shown else ''} {_number(value, short)} {time_ms}\n"


def _number(value: float, short: bool) -> str:
    names: Iterator[str] = (name for name, is_it in (("NaN", value != value), ("+Inf", value == float("inf"))) if is_it)
    return next(names, "-Inf" if value == float("-inf") else number_text(value, short))
