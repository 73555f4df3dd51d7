"""Regular expressions that clients send: bounded in length, and in the time that one name may take.

Python's notation and meanings.  Some expressions take a time that doubles with each letter of a name; the library
that searches here gives up after `_MOST_S` seconds of processor time.
"""

from __future__ import annotations

import regex

from cadtwist.query.find import QueryError

__all__ = ["Search", "compiled"]

_MOST_CHARACTERS = 1000
_MOST_S = 0.05


class Search:
    """One regular expression; each method raises QueryError where it would take too long."""

    def __init__(self, pattern: regex.Pattern[str]) -> None:
        self._pattern = pattern

    def found(self, text: str) -> bool:
        """Tell whether it is found anywhere in a text."""
        try:
            return self._pattern.search(text, timeout=_MOST_S) is not None
        except TimeoutError:
            raise self._slow() from None

    def replaced(self, text: str, by: str) -> str:
        r"""Return a text with what is found replaced; `\1` in `by` stands for the first group."""
        try:
            return str(self._pattern.sub(by, text, timeout=_MOST_S))
        except TimeoutError:
            raise self._slow() from None
        except (regex.error, IndexError, KeyError) as error:
            raise QueryError(f"Invalid replacement {by!r}: {error}") from None

    def _slow(self) -> QueryError:
        return QueryError(f"The regular expression {self._pattern.pattern!r} takes too long")


def compiled(text: str, any_case: bool = False) -> Search:
    """Return a regular expression, of letters in `any_case`; QueryError for one that is none or too long."""
    if len(text) > _MOST_CHARACTERS:
        raise QueryError(f"A regular expression has at most {_MOST_CHARACTERS} characters")
    try:
        return Search(regex.compile(text, regex.IGNORECASE if any_case else 0))
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise QueryError(f"Invalid regular expression {text!r}: {error}") from None
