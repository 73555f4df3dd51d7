"""Every error that cadtwist raises on purpose; the docstring is what a user reads.

Input errors of data are not here: a bad line is a value (`cadtwist.model.badinput.BadInput`).
"""

__all__ = ["CadtwistError", "ConfigError", "StorageError", "TooManyPointsError"]


class CadtwistError(Exception):
    """The base of all errors below."""


class ConfigError(CadtwistError):
    """The configuration has faults; `problems` lists each as `file:line: option: problem`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StorageError(CadtwistError):
    """A store cannot do what was asked: the file is missing, damaged or the disk is full."""


class TooManyPointsError(StorageError):
    """What is to be read has more points than were allowed."""
