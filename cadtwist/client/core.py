"""What all clients have in common: gathering, what is sent, what is kept when it cannot be sent.  No transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from cadtwist.client.settings import ClientSettings
from cadtwist.codec.dattss import put_body
from cadtwist.model.gathering import Gathering
from cadtwist.model.partial import Partial, is_path, read_value

__all__ = ["KILLED", "Backoff", "Core"]

KILLED = "DaTtSs Kill signal received!"
POLL_TIMEOUT_S = 30.0
_AGAIN_S = 0.1


class Backoff:
    """How long a process waits before it asks again: longer each time that the server cannot be reached."""

    def __init__(self, first_s: float = 1.0, most_s: float = 16.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def after(self, reached: bool) -> float:
        """Return the seconds to wait after an attempt that `reached` the server, or did not."""
        if reached:
            self._next_s = self._first_s
            return _AGAIN_S
        wait_s, self._next_s = self._next_s, min(2 * self._next_s, self._most_s)
        return wait_s


class Core:
    """One client's values.  For one thread at a time: who has several takes a lock.

    `refused` counts values that were none, or for which there was no room; `lost` those that were given up as the
    server was away; `sent` partials; `failures` requests that were not taken.
    """

    def __init__(self, settings: ClientSettings, tell: Callable[[str], object] | None = None) -> None:
        self.settings = settings
        self.refused = 0
        self.lost = 0
        self.sent = 0
        self.failures = 0
        self.put_path = f"/agg?auth={quote(settings.auth, safe='')}"
        self.poll_path = f"/process?auth={quote(settings.auth, safe='')}"
        self._tell = tell
        self._gathering = Gathering(settings.percentile, settings.most_paths)

    @property
    def polls(self) -> bool:
        """Whether this process shows itself."""
        return bool(self.settings.process.strip())

    def agg(self, path: str, value: str) -> bool:
        """Gather a value such as `1c`, `-3g`, `153ms` or `2c!`; False, and counted, for what is none.  Never raises."""
        found = read_value(value) if isinstance(value, str) else None
        if found is None or not isinstance(path, str) or not is_path(path):
            self.refused += 1
            self.debug(f"refused: {path!r} {value!r}")
            return False
        number, kind, emphasis = found
        if not self._gathering.add(kind, path, number, emphasis):
            self.refused += 1
            return False
        return True

    def take(self) -> tuple[list[Partial], bytes]:
        """Return what is to be sent, also as the body of a PUT /agg; `settle` says what became of it."""
        partials = self._gathering.take()
        return partials, put_body(partials)

    def settle(self, partials: list[Partial], status: int | None) -> bool:
        """End what `take` began: the server answered with a status, or not at all.  True when it was taken.

        What was not is kept, and put together with what comes meanwhile.
        """
        if status == 200:
            self.sent += len(partials)
            self.debug(f"sent {len(partials)} partials")
            return True
        self.failures += 1
        self.lost += self._gathering.put_back(partials)
        self.debug(f"not sent: {'no answer' if status is None else status}; {len(self._gathering)} paths are kept")
        return False

    def datagram(self, path: str, value: str) -> bytes | None:
        """Return a single value as a datagram of its own; None, and counted, for what is none."""
        if not isinstance(value, str) or not isinstance(path, str) or ":" in path or not is_path(path):
            found = None
        else:
            found = read_value(value)
        if found is None:
            self.refused += 1
            return None
        process = self.settings.process.strip() or "noname"
        number, kind, emphasis = found
        return f"{self.settings.auth}:{process}:{path}:{number}{kind}{'!' if emphasis else ''}".encode()

    def poll_body(self) -> bytes:
        """Return the body of a PUT /process."""
        return json.dumps({"auth": self.settings.auth, "process": self.settings.process}).encode()

    def kills(self, answer: bytes) -> bool:
        """Tell whether the answer to a PUT /process ends this process."""
        return answer == f"{self.settings.auth}-{self.settings.process}".encode()

    def debug(self, text: str) -> None:
        """Tell what happens, if it is to be told."""
        if self.settings.debug and self._tell is not None:
            self._tell(f"dattss: {text}")
