"""Collects everything there is to say about a configuration before anybody gives up on it.

Three weights: an *error* refuses the configuration, a *warning* is likely a mistake, a *notice* names an option that
is known and has no effect here, and why.  Each is shown as `file:line: option: text`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cadtwist.errors import ConfigError

__all__ = ["Problems", "Report", "Weight"]

Weight = Literal["error", "warning", "notice"]


class Report(Struct, frozen=True):
    """One remark.  `line` counts from 1; 0 = the file as a whole.  `option` may be empty."""

    weight: Weight
    file: str
    line: int
    option: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.option}: {self.text}" if self.option else f"{place}: {self.text}"


class Problems:
    """The remarks on one configuration, in the order in which they were found."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def error(self, file: str, line: int, option: str, text: str) -> None:
        """Note what makes the configuration unusable."""
        self.reports.append(Report("error", file, line, option, text))

    def warning(self, file: str, line: int, option: str, text: str) -> None:
        """Note what is accepted and probably not meant."""
        self.reports.append(Report("warning", file, line, option, text))

    def notice(self, file: str, line: int, option: str, text: str) -> None:
        """Note an option without effect."""
        self.reports.append(Report("notice", file, line, option, text))

    def texts(self, weight: Weight) -> list[str]:
        """Return the remarks of one weight as `file:line: option: text`."""
        return [str(report) for report in self.reports if report.weight == weight]

    @property
    def failed(self) -> bool:
        """True when there is an error."""
        return any(report.weight == "error" for report in self.reports)

    def raise_errors(self) -> None:
        """Raise `ConfigError` with all errors, if there is one."""
        if self.failed:
            raise ConfigError(self.texts("error"))
