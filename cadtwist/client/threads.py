"""A client with a thread that sends, and one more that waits to be ended, where the process has a name."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from cadtwist.client.blocking import Ask, ask_over, told
from cadtwist.client.core import KILLED, POLL_TIMEOUT_S, Backoff, Core
from cadtwist.client.settings import ClientSettings, client_settings

__all__ = ["ThreadedClient", "end_process"]


def end_process() -> None:
    """End this process as a killed one does: at once, with status 1."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


class ThreadedClient:
    """For any number of threads; `agg` never blocks on the network.  Starts by itself, unless `start=False`.

    `stop` sends the rest; the end of the program does so as well.  While it is stopped, values are ignored.
    """

    def __init__(
        self,
        settings: ClientSettings | None = None,
        ask: Ask | None = None,
        on_kill: Callable[[], object] = end_process,
        start: bool = True,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        **given: Any,
    ) -> None:
        self.settings = settings or client_settings(os.environ, sys.argv, **given)
        self.core = Core(self.settings, told)
        self._ask = ask or ask_over(self.settings)
        self._on_kill = on_kill
        self._wait = wait
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._ended: threading.Event | None = None
        self._pusher: threading.Thread | None = None
        if start:
            self.start()

    @property
    def running(self) -> bool:
        """Whether values are counted."""
        return self._ended is not None

    def agg(self, path: str, value: str) -> bool:
        """Count a value such as `1c`."""
        with self._lock:
            return self.running and self.core.agg(path, value)

    def start(self) -> None:
        """Begin to send."""
        with self._lock:
            if self._ended is not None:
                return
            ended = self._ended = threading.Event()
        self._pusher = threading.Thread(target=self._push_on, args=(ended,), name="dattss push", daemon=True)
        self._pusher.start()
        if self.core.polls:
            threading.Thread(target=self._poll_on, args=(ended,), name="dattss process", daemon=True).start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Send the rest and end; may take as long as a request."""
        with self._lock:
            ended, self._ended = self._ended, None
        if ended is None:
            return
        atexit.unregister(self.stop)
        ended.set()
        pusher = self._pusher
        if pusher is not None and pusher is not threading.current_thread():
            pusher.join()

    def push(self) -> bool:
        """Send what there is now; False when the server does not take it, then it is kept."""
        with self._sending:
            with self._lock:
                partials, body = self.core.take()
            try:
                status: int | None = self._ask(self.core.put_path, body, self.settings.timeout_s)[0]
            except OSError:
                status = None
            with self._lock:
                return self.core.settle(partials, status)

    def _push_on(self, ended: threading.Event) -> None:
        while not self._wait(ended, self.settings.push_period_s):
            self.push()
        self.push()

    def _poll_on(self, ended: threading.Event) -> None:
        backoff = Backoff()
        while not ended.is_set():
            try:
                status, answer = self._ask(self.core.poll_path, self.core.poll_body(), POLL_TIMEOUT_S)
                reached = status == 200
            except ConnectionResetError:
                reached, answer = True, b""
            except OSError:
                reached, answer = False, b""
            if ended.is_set():
                return
            if self.core.kills(answer):
                told(KILLED)
                self._on_kill()
                return
            self._wait(ended, backoff.after(reached))
