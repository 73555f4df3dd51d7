"""Cadent's PreReg filters as plain values: which section a name belongs to, or that it is refused.  Pure.

Filters are asked in file order, the first match decides: a match that rejects drops, a match on another section
redirects, both for raw input.  What matches neither stays where it came in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["FILTER_KINDS", "PreReg", "PreRegFilter", "Verdict"]

FILTER_KINDS = ("regex", "prefix", "substring", "noop")


@dataclass(frozen=True)
class PreRegFilter:
    """One `[[NAME.map]]`: a `kind` of FILTER_KINDS, its text, and what a match means.

    A noop matches every name.  An empty `backend` is the default one.  ValueError for an unknown kind or a text that
    is no regular expression.
    """

    kind: str
    text: str
    backend: str = ""
    reject: bool = False

    def __post_init__(self) -> None:
        if self.kind not in FILTER_KINDS:
            raise ValueError(f"unknown filter {self.kind!r}; known are {', '.join(FILTER_KINDS)}")
        if self.kind == "regex":
            try:
                re.compile(self.text)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"not a regular expression: {self.text!r}: {error}") from error

    def question(self) -> Callable[[str], object]:
        """Return a function of a name that is true when this filter is about it."""
        if self.kind == "regex":
            return re.compile(self.text).search
        text = self.text
        if self.kind == "prefix":
            return lambda name: name.startswith(text)
        return lambda name: self.kind == "noop" or text in name


class Verdict(NamedTuple):
    """The section that a name goes to, empty when it is `rejected`; `filter` tells which one matched, if any."""

    backend: str
    rejected: bool = False
    filter: str = ""


class PreReg:
    """The filters of one listening section; `default_backend` has what none of them matches."""

    def __init__(self, filters: Iterable[PreRegFilter], default_backend: str) -> None:
        self.filters = tuple(filters)
        self.default_backend = default_backend
        self._questions = [each.question() for each in self.filters]

    @property
    def backends(self) -> tuple[str, ...]:
        """The sections that filters name, each once."""
        return tuple(dict.fromkeys(each.backend for each in self.filters if each.backend))

    def decide(self, name: str) -> Verdict:
        """Return what becomes of `name`."""
        for each, asked in zip(self.filters, self._questions, strict=True):
            if asked(name):
                title = f"{each.kind} {each.text}"
                if each.reject:
                    return Verdict("", True, title)
                return Verdict(each.backend or self.default_backend, False, title)
        return Verdict(self.default_backend)
