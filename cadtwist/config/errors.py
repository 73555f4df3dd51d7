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

_LONGEST = 1000
"""Characters of a remark: one that quotes a value of any length could hide the others."""


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
    """The remarks on one configuration, each once: file by file, line by line."""

    def __init__(self) -> None:
        self._reports: dict[Report, None] = {}

    @property
    def reports(self) -> list[Report]:
        """All remarks."""
        files: dict[str, int] = {}
        for report in self._reports:
            files.setdefault(report.file, len(files))
        return sorted(self._reports, key=lambda report: (files[report.file], report.line))

    def error(self, file: str, line: int, option: str, text: str) -> None:
        """Note what makes the configuration unusable."""
        self._note("error", file, line, option, text)

    def warning(self, file: str, line: int, option: str, text: str) -> None:
        """Note what is accepted and probably not meant."""
        self._note("warning", file, line, option, text)

    def notice(self, file: str, line: int, option: str, text: str) -> None:
        """Note an option without effect."""
        self._note("notice", file, line, option, text)

    def _note(self, weight: Weight, file: str, line: int, option: str, text: str) -> None:
        if len(text) > _LONGEST:
            half = _LONGEST // 2
            text = f"{text[:half]} ... {text[-half:]}"
        self._reports[Report(weight, file, line, option[:_LONGEST], text)] = None

    def texts(self, weight: Weight) -> list[str]:
        """Return the remarks of one weight as `file:line: option: text`."""
        return [str(report) for report in self.reports if report.weight == weight]

    @property
    def failed(self) -> bool:
        """True when there is an error."""
        return any(report.weight == "error" for report in self._reports)

    def raise_errors(self) -> None:
        """Raise `ConfigError` with all errors, if there is one."""
        if self.failed:
            raise ConfigError(self.texts("error"))
