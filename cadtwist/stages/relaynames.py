"""The rules about names of the replaced relays: statsrelay's groups, Cadent's filters, carbon-c-relay's cleansing.

Each is a `NameRule` of `cadtwist.stages.names`: pure, asked once per metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cadtwist.model.prereg import PreReg
from cadtwist.stages.names import Outcome

__all__ = ["Affix", "CadentCleaning", "IngressFilter", "OneField", "PreRegReject", "RelayCleansing"]

_SECOND_DOTS = re.compile(r"\.\.+")


class IngressFilter:
    """statsrelay's `input_blacklist` and then `input_filter`, each searched anywhere in a name; None: not asked.

    Drops with the reasons `rejected_lines` and `filtered_lines`, the names of statsrelay's counters.
    """

    label = "ingress"

    def __init__(self, keep: str | None = None, refuse: str | None = None) -> None:
        self._keep = None if keep is None else re.compile(keep)
        self._refuse = None if refuse is None else re.compile(refuse)

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        if self._refuse is not None and self._refuse.search(name):
            return Outcome((), "rejected_lines")
        if self._keep is not None and not self._keep.search(name):
            return Outcome((), "filtered_lines")
        return None


class OneField:
    """Drops names with a blank or an end of line (`name`): within a line they would begin another field, or line.

    Only pickles and messages have such names.  `further` is asked about all others.
    """

    label = "one field"
    _breaks = re.compile(r"[ \t\n\v\f\r]")

    def __init__(self, further: Callable[[str], Outcome | None] | None = None) -> None:
        self._further = further

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        if self._breaks.search(name):
            return Outcome((), "name")
        return None if self._further is None else self._further(name)


class Affix:
    """Puts a text before each name and one behind it, with no dot of its own."""

    label = "affix"

    def __init__(self, prefix: str = "", suffix: str = "") -> None:
        self._prefix, self._suffix = prefix, suffix

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        return Outcome((f"{self._prefix}{name}{self._suffix}",)) if self._prefix or self._suffix else None


class PreRegReject:
    """Drops what Cadent's filters reject, with the reason `rejected`; redirecting is the affair of a router."""

    label = "prereg"

    def __init__(self, prereg: PreReg) -> None:
        self._prereg = prereg

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        return Outcome((), "rejected") if self._prereg.decide(name).rejected else None


class CadentCleaning:
    """Cadent's cleaning of graphite names, one pass from left to right: two dots become one, `,*(){}` become `_`."""

    label = "cleaning"
    _replaced = re.compile(r"\.\.|[,*(){}]")

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        clean = self._replaced.sub(lambda found: "." if found[0] == ".." else "_", name)
        return None if clean == name else Outcome((clean,))


class RelayCleansing:
    """carbon-c-relay's cleansing: only letters, digits, dots and `allowed` stay, byte by byte; other bytes become `_`.

    Dots at either end go, and of neighbouring ones all but one.  From the first `;` on, which begins the tags, all
    stays as it is, unless `;` is allowed.  A name of which nothing is left is dropped (`name`).
    """

    label = "cleansing"

    def __init__(self, allowed: str = "-_:#") -> None:
        letters = "A-Za-z0-9." + re.escape(allowed)
        self._foreign = re.compile(f"[^{letters}]".encode())
        self._has_tags = ";" not in allowed

    def __call__(self, name: str) -> Outcome | None:
        """Return what becomes of `name`."""
        metric, semicolon, tags = name.partition(";") if self._has_tags else (name, "", "")
        letters = self._foreign.sub(b"_", metric.encode("utf-8", "surrogateescape")).decode("ascii", "replace")
        clean = _SECOND_DOTS.sub(".", letters).strip(".") + semicolon + tags
        if not clean:
            return Outcome((), "name")
        return None if clean == name else Outcome((clean,))
