"""Back-pressure: a gate that is open while no reason shuts it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Gate"]


class Gate:
    """A set of named reasons to pause; reactor thread only.

    Invariant: listeners hear `False` when the first reason comes and `True` when the last one goes, never twice
    the same.  Several causes never unshut each other.
    """

    def __init__(self) -> None:
        self._reasons: set[str] = set()
        self._listeners: list[Callable[[bool], None]] = []

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
            self._tell(False)

    def resume(self, reason: str) -> None:
        """Take `reason` away; the gate opens when it was the last."""
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._tell(True)

    def listen(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call `listener(open)` at every change; the returned callable ends that."""
        self._listeners.append(listener)

        def forget() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return forget

    def _tell(self, is_open: bool) -> None:
        for listener in list(self._listeners):
            listener(is_open)
