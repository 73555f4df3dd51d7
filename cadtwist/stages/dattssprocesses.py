"""Which processes of a user are there: those that hold a request open for it, and those that say their uptime.

A process holds a request (a *button*) until it is answered; pressing all buttons of a name ends its processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

__all__ = ["BUTTON_S", "ON_S", "Processes"]

BUTTON_S = 40.0
"""A button that is older is forgotten."""

ON_S = 7.5
"""A process that only says its uptime is up for so long."""


@dataclass(slots=True)
class _Process:
    first: float
    last: float
    buttons: dict[int, tuple[float, Callable[[], object]]] = field(default_factory=dict)
    told: float = float("-inf")

    def is_up(self, now: float) -> bool:
        return bool(self.buttons) or now - self.told <= ON_S


class Processes:
    """The processes of one user by name.  Times are epoch seconds.

    At most `most` names: a further one takes the place of the one that is down for the longest time, if there is one.
    At most `most_buttons` for each name.
    """

    def __init__(self, most: int = 1000, most_buttons: int = 1000) -> None:
        self._processes: dict[str, _Process] = {}
        self._most = most
        self._most_buttons = most_buttons
        self._numbers = 0

    def poll(self, name: str, press: Callable[[], object], now: float) -> int | None:
        """A process of this name waits; return the number of its button, None where there is no room for it."""
        process = self._of(name, now)
        if process is None or len(process.buttons) >= self._most_buttons:
            return None
        process.last = now
        self._numbers += 1
        process.buttons[self._numbers] = now, press
        return self._numbers

    def left(self, name: str, button: int) -> None:
        """A process waits no more."""
        process = self._processes.get(name)
        if process is not None:
            process.buttons.pop(button, None)

    def told(self, name: str, now: float) -> None:
        """A process has said its uptime."""
        process = self._of(name, now)
        if process is not None:
            process.last = process.told = now

    def press(self, name: str) -> int | None:
        """Press all buttons of a name; return how many, None where nobody has that name."""
        process = self._processes.get(name)
        if process is None:
            return None
        buttons, process.buttons = process.buttons, {}
        for _, press in buttons.values():
            press()
        return len(buttons)

    def forget(self, name: str) -> bool:
        """Forget a process, unless one of that name waits; tell whether there was one."""
        process = self._processes.get(name)
        if process is not None and not process.buttons:
            del self._processes[name]
        return process is not None

    def expire(self, now: float) -> None:
        """Forget old buttons."""
        for process in self._processes.values():
            for number in [each for each, (since, _) in process.buttons.items() if now - since > BUTTON_S]:
                del process.buttons[number]

    def last(self, name: str) -> float | None:
        """Return when a process was heard of last."""
        process = self._processes.get(name)
        return None if process is None else process.last

    def status(self, now: float) -> list[dict[str, Any]]:
        """Return what the API shows, by name."""
        return [
            {"status": "up" if process.is_up(now) else "down", "last": iso_date(process.last), "name": name}
            for name, process in sorted(self._processes.items())
        ]

    def _of(self, name: str, now: float) -> _Process | None:
        found = self._processes.get(name)
        if found is not None:
            return found
        if len(self._processes) >= self._most:
            down = [(each.last, name) for name, each in self._processes.items() if not each.is_up(now)]
            if not down:
                return None
            del self._processes[min(down)[1]]
        found = self._processes[name] = _Process(now, now)
        return found


def iso_date(now: float) -> str:
    """Return a time as JavaScript writes dates in JSON."""
    moment = datetime.fromtimestamp(round(now, 3), timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
