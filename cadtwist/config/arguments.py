"""Words of a command line of which only one option is ours to read."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["without_option"]


def without_option(arguments: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """Take `option VALUE` and `option=VALUE` out; return the last value (None: there was none) and the other words."""
    value, rest, waiting = None, list[str](), list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == option and waiting:
            value = waiting.pop(0)
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest
