"""Back-pressure: a gate that is open while no reason shuts it; and who wants to hear of such things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

__all__ = ["Gate", "Listeners"]

P = ParamSpec("P")


class Listeners(Generic[P]):
    """Who wants to hear of something, in the order in which they came; reactor thread only."""

    def __init__(self) -> None:
        self._all: list[Callable[P, object]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Callable[P, object]) -> Callable[[], None]:
        """Let `listener` hear what is told from now on; the returned callable ends that."""
        self._all.append(listener)

        def forget() -> None:
            if listener in self._all:
                self._all.remove(listener)

        return forget

    def tell(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all of them."""
        for listener in list(self._all):
            listener(*args, **kwargs)


class Gate:
    """A set of named reasons to pause; reactor thread only.

    Invariant: listeners hear `False` when the first reason comes and `True` when the last one goes, never twice
    the same.  Several causes never unshut each other.
    """

    def __init__(self) -> None:
        self._reasons: set[str] = set()
        self._listeners: Listeners[bool] = Listeners()

    @property
    def open(self) -> bool:
        """True while there is no reason to pause."""
        return not self._reasons

    @property
    def reasons(self) -> frozenset[str]:
        """The reasons that hold the gate shut now."""
        return frozenset(self._reasons)

    def pause(self, reason: str) -> None:
        """Shut the gate for `reason`; idempotent."""
        was_open = not self._reasons
        self._reasons.add(reason)
        if was_open:
            self._listeners.tell(False)

    def resume(self, reason: str) -> None:
        """Take `reason` away; the gate opens when it was the last."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._listeners.tell(True)

    def listen(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call `listener(open)` at every change; the returned callable ends that."""
        return self._listeners.add(listener)
