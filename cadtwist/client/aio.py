"""A client for asyncio: everything runs in one event loop, and nothing blocks it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cadtwist.client.blocking import MAX_ANSWER_BYTES, told
from cadtwist.client.core import KILLED, POLL_TIMEOUT_S, Backoff, Core
from cadtwist.client.settings import ClientSettings, client_settings
from cadtwist.client.threads import end_process

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AioClient", "AsyncAsk", "ask_in_loop"]

AsyncAsk = Callable[[str, bytes, float], Awaitable["tuple[int, bytes]"]]
"""As `client.blocking.Ask`, to be awaited; asyncio.TimeoutError after the seconds."""


def ask_in_loop(settings: ClientSettings) -> AsyncAsk:
    """Return what puts to the server of `settings`, each time over a connection of its own."""

    async def ask(path: str, body: bytes, seconds: float) -> tuple[int, bytes]:
        return await asyncio.wait_for(_put(settings, path, body), seconds)

    return ask


async def _put(settings: ClientSettings, path: str, body: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(settings.http_host, settings.http_port)
    try:
        head = [f"PUT {path} HTTP/1.0", f"Host: {settings.http_host}", "Content-Type: application/json"]
        writer.write("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        await writer.drain()
        data = bytearray()
        while len(data) < MAX_ANSWER_BYTES and (part := await reader.read(MAX_ANSWER_BYTES)):
            data += part
    finally:
        writer.close()
    start, _, answer = bytes(data).partition(b"\r\n\r\n")
    words = start.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionResetError("that is no answer")
    return int(words[1]), answer


class AioClient:
    """`async with AioClient() as client:` or `start` and `await stop()`, both within the loop.  `agg` never raises."""

    def __init__(
        self,
        settings: ClientSettings | None = None,
        ask: AsyncAsk | None = None,
        on_kill: Callable[[], object] = end_process,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        **given: Any,
    ) -> None:
        self.settings = settings or client_settings(os.environ, sys.argv, **given)
        self.core = Core(self.settings, told)
        self._ask = ask or ask_in_loop(self.settings)
        self._on_kill = on_kill
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []
        self._sending = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether values are counted."""
        return bool(self._tasks)

    def agg(self, path: str, value: str) -> bool:
        """Count a value such as `1c`."""
        return self.running and self.core.agg(path, value)

    def start(self) -> None:
        """Begin to send, in the running loop."""
        if self._tasks:
            return
        self._tasks = [asyncio.ensure_future(self._push_on())]
        if self.core.polls:
            self._tasks.append(asyncio.ensure_future(self._poll_on()))

    async def stop(self) -> None:
        """Send the rest and end."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await self.push()

    async def push(self) -> bool:
        """Send what there is now; False when the server does not take it, then it is kept."""
        async with self._sending:
            partials, body = self.core.take()
            status: int | None = None
            try:
                status = (await self._ask(self.core.put_path, body, self.settings.timeout_s))[0]
            except (OSError, asyncio.TimeoutError):
                status = None
            return self.core.settle(partials, status)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _push_on(self) -> None:
        while True:
            await self._sleep(self.settings.push_period_s)
            await asyncio.shield(self.push())  # a stop lets it end

    async def _poll_on(self) -> None:
        backoff = Backoff()
        while True:
            answer = b""
            try:
                status, answer = await self._ask(self.core.poll_path, self.core.poll_body(), POLL_TIMEOUT_S)
                reached = status == 200
            except ConnectionResetError:
                reached = True
            except (OSError, asyncio.TimeoutError):
                reached = False
            if self.core.kills(answer):
                told(KILLED)
                self._on_kill()
                return
            await self._sleep(backoff.after(reached))
