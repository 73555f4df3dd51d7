"""Asks destinations whether they live: by connecting, over HTTP, or at a statsd's management port.

A check is a URL: `tcp://host:port`, `udp://host:port` and `unix:///path` are up when a connection can be made (of UDP
that says little: give another check), `http://...` and `https://...` when there is any answer, `statsd://host:port`
when the line `health` is answered with something that has `up` in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.flow import Listeners
from cadtwist.net.client import stream_endpoint
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from treq.client import HTTPClient

__all__ = ["HealthLimits", "HealthService", "Probe", "probe_of"]

_LONGEST_REPLY = 1024

Probe = Callable[[], "Deferred[object]"]
"""Asks once; fails when the destination does not live."""

Listener = Callable[[str, bool], object]


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How often, how patiently and how strictly destinations are asked.

    One is down after more than `failures` checks in a row that failed; while it is down, only each `retry_checks`th
    check is made, and one success brings it back.  `at_once`: the first checks are made at start, not after
    `interval_s`.  The statsd proxy's are failures 0, retry_checks 1, at_once.
    """

    interval_s: float = 30.0
    timeout_s: float = 5.0
    failures: int = 3
    retry_checks: int = 12
    at_once: bool = False


def probe_of(reactor: Any, url: str, timeout_s: float) -> Probe:
    """Return the probe of a URL; raises ValueError for one that is none (see the module)."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        if not parts.hostname:
            raise ValueError(f"no host in the check {url!r}")
        from treq.client import HTTPClient  # noqa: PLC0415 (only where HTTP is spoken)
        from twisted.web.client import Agent  # noqa: PLC0415

        return partial(_get, HTTPClient(Agent(reactor, connectTimeout=timeout_s)), url, timeout_s)
    if parts.scheme == "unix":
        endpoint = stream_endpoint(reactor, "unix", "", 0, unquote(parts.path), timeout_s)
        return partial(_connect, reactor, endpoint, _Closing, timeout_s)
    if parts.scheme not in ("tcp", "udp", "statsd"):
        raise ValueError(f"a check is tcp, udp, unix, http or statsd, not {url!r}")
    if not parts.hostname or not parts.port:
        raise ValueError(f"no host and port in the check {url!r}")
    transport = "udp" if parts.scheme == "udp" else "tcp"
    endpoint = stream_endpoint(reactor, transport, parts.hostname, parts.port, "", timeout_s)
    return partial(_connect, reactor, endpoint, _Asking if parts.scheme == "statsd" else _Closing, timeout_s)


def _connect(
    reactor: Any, endpoint: IStreamClientEndpoint, ask: Callable[[], _Closing], timeout_s: float
) -> Deferred[object]:
    """Connect, and wait for what the protocol finds."""
    factory: Factory[Any] = Factory.forProtocol(ask)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    found: Deferred[object] = connecting.addCallback(lambda protocol: protocol.found)
    return found.addTimeout(timeout_s, reactor)


class _Closing(Protocol):
    """Is content with the connection."""

    transport: Any

    def __init__(self) -> None:
        self.found: Deferred[object] = Deferred(self._give_up)

    def _give_up(self, _: object) -> None:
        self.transport.abortConnection()

    def connectionMade(self) -> None:
        """Close again."""
        self.found.callback(True)
        self.transport.loseConnection()


class _Asking(_Closing):
    """Asks a statsd for its health."""

    def __init__(self) -> None:
        super().__init__()
        self._reply = b""

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(b"health\r\n")

    def dataReceived(self, data: bytes) -> None:
        """Take the first line of the answer."""
        self._reply += data
        if b"\n" in self._reply or len(self._reply) > _LONGEST_REPLY:
            self._settle()
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 (Twisted's signature)
        """Make do with what came."""
        self._settle()

    def _settle(self) -> None:
        if self.found.called:
            return
        if b"up" in self._reply:
            self.found.callback(True)
        else:
            self.found.errback(OSError(f"says {self._reply[:80]!r}"))


def _get(client: HTTPClient, url: str, timeout_s: float) -> Deferred[object]:
    asked: Deferred[Any] = client.get(url, timeout=timeout_s, unbuffered=True)
    return asked.addCallback(_hang_up)


def _hang_up(response: Any) -> object:
    """Any answer will do: its body is not awaited."""
    response.deliverBody(_Unread())
    return True


class _Unread(Protocol):
    """The body of an answer that nobody wants."""

    transport: Any

    def connectionMade(self) -> None:
        """Hang up."""
        self.transport.loseConnection()


class _Watched:
    """What is known of one destination."""

    __slots__ = ("asking", "failed", "probe", "skipped", "up", "url")

    def __init__(self, url: str, probe: Probe) -> None:
        self.url = url
        self.probe = probe
        self.up = True
        self.failed = 0
        self.skipped = 0
        self.asking: Deferred[object] | None = None


class HealthService(Service):
    """Checks what it is told to watch, from start to stop.  Reactor thread.

    Everything is up until checks say otherwise.  Listeners hear `(key, up)` at each change.  `account` counts `checks`
    and `failed_checks`, and shows how many are `down`.  `probe` makes a Probe of (url, timeout in seconds).
    """

    name = "health"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        limits: HealthLimits,
        account: Account,
        probe: Callable[[str, float], Probe] | None = None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._account = account
        self._probe = probe or partial(probe_of, reactor)
        self._watched: dict[str, _Watched] = {}
        self._listeners: Listeners[str, bool] = Listeners()
        self._call: IDelayedCall | None = None
        account.gauge("down", lambda: len(self.down))

    @property
    def down(self) -> list[str]:
        """The keys of those that are down."""
        return [key for key, each in self._watched.items() if not each.up]

    @property
    def checks(self) -> dict[str, str]:
        """The check URL of each key."""
        return {key: each.url for key, each in self._watched.items()}

    def is_up(self, key: str) -> bool:
        """Tell whether `key` is up, as far as is known."""
        return key not in self._watched or self._watched[key].up

    def watch(self, key: str, url: str) -> None:
        """Check `key` by `url` from now on, unless that is done already; raises ValueError for a URL that is none."""
        if key not in self._watched or self._watched[key].url != url:
            made = _Watched(url, self._probe(url, self._limits.timeout_s))
            self.forget(key)
            self._watched[key] = made

    def forget(self, key: str) -> None:
        """Check `key` no longer; listeners hear nothing of it."""
        watched = self._watched.pop(key, None)
        if watched is not None and watched.asking is not None:
            watched.asking.cancel()

    def keep(self, keys: Iterable[str]) -> None:
        """Check only `keys` from now on."""
        kept = set(keys)
        for key in [key for key in self._watched if key not in kept]:
            self.forget(key)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(key, up)` at every change; the returned callable ends that."""
        return self._listeners.add(listener)

    def startService(self) -> None:
        """Begin to check."""
        super().startService()
        if self._limits.at_once:
            self._round()
        else:
            self._schedule()

    def stopService(self) -> None:
        """Stop; checks under way are given up."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for watched in self._watched.values():
            if watched.asking is not None:
                watched.asking.cancel()

    def _schedule(self) -> None:
        self._call = self._reactor.callLater(self._limits.interval_s, self._round)

    def _round(self) -> None:
        self._schedule()
        for key, watched in list(self._watched.items()):
            if watched.asking is not None:
                continue
            if not watched.up:
                watched.skipped += 1
                if watched.skipped < self._limits.retry_checks:
                    continue
                watched.skipped = 0
            self._ask(key, watched)

    def _ask(self, key: str, watched: _Watched) -> None:
        self._account.count("checks")
        watched.asking = asking = watched.probe()
        asking.addCallbacks(
            lambda _: self._lives(key, watched), lambda failure: self._failed(key, watched, failure)
        ).addErrback(lambda failure: self._log.failure("health check of {key}: internal error", failure, key=key))
        if asking.called and watched.asking is asking:
            watched.asking = None

    def _lives(self, key: str, watched: _Watched) -> None:
        watched.asking = None
        watched.failed = 0
        if not watched.up and self._is_current(key, watched):
            watched.up = True
            self._log.info("{key} is up again ({url})", key=key, url=watched.url)
            self._listeners.tell(key, True)

    def _failed(self, key: str, watched: _Watched, failure: Failure) -> None:
        watched.asking = None
        if not self._is_current(key, watched):
            return
        self._account.count("failed_checks")
        watched.failed += 1
        if watched.up and watched.failed > self._limits.failures:
            watched.up = False
            watched.skipped = 0
            why = failure.getErrorMessage()
            self._log.warn("{key} is down ({url}): {why}", key=key, url=watched.url, why=why)
            self._listeners.tell(key, False)

    def _is_current(self, key: str, watched: _Watched) -> bool:
        return bool(self.running) and self._watched.get(key) is watched
