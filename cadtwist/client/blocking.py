"""A client without threads: it sends when it is told to, or when a value comes and the last sending is long ago."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cadtwist.client.core import Core
from cadtwist.client.settings import ClientSettings, client_settings

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Ask", "BlockingClient", "ask_over", "told"]

MAX_ANSWER_BYTES = 1 << 16
Ask = Callable[[str, bytes, float], "tuple[int, bytes]"]
"""(path, body, seconds) -> (status, body) of a PUT; OSError without an answer."""


def ask_over(settings: ClientSettings) -> Ask:
    """Return what puts to the server of `settings`, each time over a connection of its own."""

    def ask(path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(settings.http_host, settings.http_port, timeout=seconds)
        try:
            connection.request("PUT", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER_BYTES)
        except http.client.HTTPException as error:
            raise ConnectionResetError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    return ask


def told(text: str) -> None:
    """Print what a client says of itself."""
    print(text, file=sys.stderr)  # noqa: T201 (what DATTSS_DEBUG asks for)


class BlockingClient:
    """For one thread.  `agg` never raises; it sends, and so may take `timeout_s`, at most once in a push period.

    `with BlockingClient() as client:` sends the rest at the end.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
        **given: Any,
    ) -> None:
        self.settings = settings or client_settings(os.environ, sys.argv, **given)
        self.core = Core(self.settings, told)
        self._ask = ask or ask_over(self.settings)
        self._clock = clock
        self._pushed = clock()
        self._udp: socket.socket | None = None

    def agg(self, path: str, value: str, udp: bool = False) -> bool:
        """Count a value such as `1c`; with `udp` it is sent at once, in a datagram of its own."""
        if udp:
            return self._send(path, value)
        taken = self.core.agg(path, value)
        if self._clock() - self._pushed >= self.settings.push_period_s:
            self.push()
        return taken

    def push(self) -> bool:
        """Send what there is; False when the server does not take it, then it is kept."""
        self._pushed = self._clock()
        partials, body = self.core.take()
        try:
            status, _ = self._ask(self.core.put_path, body, self.settings.timeout_s)
        except OSError:
            return self.core.settle(partials, None)
        return self.core.settle(partials, status)

    def close(self) -> None:
        """Send the rest."""
        self.push()
        if self._udp is not None:
            self._udp.close()
            self._udp = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, path: str, value: str) -> bool:
        data = self.core.datagram(path, value)
        if data is None:
            return False
        with contextlib.suppress(OSError):
            if self._udp is None:
                self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._udp.setblocking(False)
            self._udp.sendto(data, (self.settings.udp_host, self.settings.udp_port))
            return True
        return False
