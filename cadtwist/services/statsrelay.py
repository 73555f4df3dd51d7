"""What statsrelay's arbiters and operators expect of signals and of the environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from cadtwist.config.model import Config
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.services.receivers import door_name

__all__ = ["SHARD_MAP_PATH", "ShardMapDump", "inherited_listeners"]

SHARD_MAP_PATH = "/tmp/shard_map.json"  # noqa: S108 (where statsrelay writes it; nobody's link is followed)
_TCP_FD, _UDP_FD = "STATSRELAY_LISTENER_TCP_SD", "STATSRELAY_LISTENER_UDP_SD"


class ShardMapDump(Service):
    """SIGUSR1 writes the shard map of the first group to `path`, as JSON.  Reactor thread.

    The file appears whole, whatever was at `path`.
    """

    name = "shard map"
    _log = Logger()

    def __init__(self, reactor: Any, config: Callable[[], Config], path: str = SHARD_MAP_PATH) -> None:
        self._reactor = reactor
        self._config = config
        self._path = path
        self._old_handler: Any = None

    def startService(self) -> None:
        """Listen to SIGUSR1."""
        super().startService()
        self._old_handler = signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self.write))

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._old_handler is not None:
            signal.signal(signal.SIGUSR1, self._old_handler)
            self._old_handler = None

    def write(self) -> None:
        """Write the map now; a path that cannot be written is only logged."""
        groups = [group for relay in self._config().relays for group in relay.groups]
        shards = [] if not groups else list(groups[0].hash_keys or groups[0].members)
        try:
            fd, made = tempfile.mkstemp(dir=os.path.dirname(self._path))
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump({"shard_map": shards}, file)
            os.chmod(made, 0o644)
            os.replace(made, self._path)
        except OSError as error:
            self._log.error("the shard map cannot be written: {error}", error=error)


def inherited_listeners(environ: MutableMapping[str, str], config: Config) -> Inheritance:
    """Return the listening sockets that a former statsrelay names in the environment; it names them only once."""
    given = {"tcp": environ.pop(_TCP_FD, ""), "udp": environ.pop(_UDP_FD, "")}
    things: list[Passed] = []
    for door in config.listeners:
        text = given.get(door.transport, "")
        if door.protocol == "line" and text.isdigit():
            given[door.transport] = ""
            with contextlib.suppress(OSError):
                os.set_blocking(int(text), False)
                os.set_inheritable(int(text), False)
                kind: Any = "datagrams" if door.transport == "udp" else "listener"
                things.append(Passed(kind=kind, key=door_name(door), fd=int(text)))
    return Inheritance(things)
