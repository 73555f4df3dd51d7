"""A destination: its queue, its connections, and what is told of both.

Whoever sends gives encoded chunks and never waits; the queue (`cadtwist.journal.spool`) bounds what waits.  Chunks of
one turn are written together, and at once when they are many.  A timer runs only while something is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.flow import Gate, Listeners
from cadtwist.interfaces import IDestination
from cadtwist.journal.backlog import Backlog, SpoolBudget
from cadtwist.journal.flight import Flight
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.journal.spool import Spool
from cadtwist.net.client import Link, Retry, retry_delays, stream_endpoint
from cadtwist.net.outlets import BufferedOutlet, DatagramOutlet, Outlet, SocketOptions, SocketOutlet
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.net.httpout import HttpOutlet, HttpPost, Post

__all__ = ["STOPPED", "Destination", "DestinationOptions", "RatioReset"]

POLL_S = 0.1
EAGER_BYTES = 128 << 10
RECONNECTING = "reconnecting"
_SILENCE_LOOK_S = 1.0
_CLOSING_S = 1.0
"""Patience with peers that do not take the end of their connection (TLS's goodbye): then it is cut."""

STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RatioReset:
    """Reconnect when less than `ratio` of what came in an interval was sent, `min_points` at least.

    `metric_s` is the length of that interval, `interval_s` the least time between two such resets.
    """

    min_points: int = 1000
    ratio: float = 0.9
    interval_s: float = 121.0
    metric_s: float = 60.0


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """Where and how to send.  `transport`: tcp, udp, unix (`path` is the socket), http (`path` is the URL).

    `divisible`: chunks are lines, else each is one frame.  `datagram_bytes` 0 = each line its own datagram.
    `reconnect_share`: the share of `limits.max_bytes` at which the connection is given up (statsrelay's
    auto_reconnect).  `unanswered_s`: a TCP peer that confirms nothing so long is given up; 0 = when the system does.
    `recycle_s`: connect anew so often.  `drain_s`: patience at `close`.
    """

    transport: str = "tcp"
    host: str = ""
    port: int = 0
    path: str = ""
    divisible: bool = True
    connections: int = 1
    datagram_bytes: int = 1400
    cork: bool = False
    unanswered_s: float = 0.0
    recycle_s: float = inf
    reconnect_share: float = inf
    defer_s: float = 0.0001
    drain_s: float = 5.0
    limits: QueueLimits = field(default_factory=QueueLimits)
    retry: Retry = field(default_factory=Retry)
    ratio_reset: RatioReset | None = None

    @property
    def target(self) -> tuple[object, ...]:
        """What cannot change while a destination lives."""
        return (
            self.transport, self.host, self.port, self.path, self.divisible, self.connections, self.datagram_bytes,
            self.cork, self.retry, self.limits.spool_bytes > 0,
        )  # fmt: skip


Listener = Callable[["Destination"], object]


def _limits(options: DestinationOptions) -> QueueLimits:
    """Return the bounds of the queue: there is no window where nothing confirms (UDP), or an answer does (HTTP)."""
    if options.transport in ("udp", "http"):
        return replace(options.limits, window_s=0.0)
    return options.limits


@implementer(IDestination)
class Destination:
    """See the module.  Reactor thread.

    `connected` while a connection is up; `failing` while the last chunk was not taken whole; `failed_attempts` in a
    row.  Listeners hear of every change of `connected` and of every failed attempt.  `account` gets the queue's
    ledger and the counters `sent` (datapoints written), `bytes_sent`, `bytes_queued`, `batches`, `connects`,
    `failed_connects`, `disconnects`, `slow_resets`, `queued_until_connected`, and gauges.  `buffered`: write through
    the transport's buffer, as is done over TLS, not to the socket.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        key: str,
        options: DestinationOptions,
        account: Account,
        gate: Gate | None = None,
        backlog: Backlog | None = None,
        budget: SpoolBudget | None = None,
        tls: Any = None,
        endpoint: IStreamClientEndpoint | None = None,
        post: Post | None = None,
        buffered: bool = False,
    ) -> None:
        self.key = key
        self.options = options
        self.account = account
        reason = f"queue of {account.name.removeprefix('destination ')}"  # a successor has the same key
        self.spool = Spool(account, _limits(options), options.divisible, backlog, budget, gate, reason)
        self.spool.window.tell = self._warn
        self.failing = False
        self.failed_attempts = 0
        self.most_queued_until_ready = 0
        self._reactor = reactor
        self._tls = tls
        self._buffered = buffered
        self._outlets: list[Outlet] = []
        self._links: list[Link] = []
        self._https: list[HttpOutlet] = []
        self._own_post: HttpPost | None = None
        self._listeners: Listeners[Destination] = Listeners()
        self._flush_call: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._turn = 0
        self._closing: Deferred[None] | None = None
        self._closed = False
        self._left: list[tuple[bytes, int]] | None = None
        self._give_up_at = inf
        self._resetting = False
        self._interval = _Interval(reactor.seconds())
        self._look_at = 0.0
        self._socket_options = SocketOptions(options.cork)
        self._make_links(endpoint, post)
        account.gauge("connected", lambda: float(self.connected))
        account.gauge("failing", lambda: float(self.failing))

    def _make_links(self, endpoint: IStreamClientEndpoint | None, post: Post | None) -> None:
        options = self.options
        delays = retry_delays(options.retry)
        if options.transport == "http":
            from cadtwist.net.httpout import HttpOutlet, HttpPost  # noqa: PLC0415 (only where HTTP is spoken)

            if post is None:
                post = self._own_post = HttpPost(self._reactor, options.retry.timeout_s)
            self._https = [
                HttpOutlet(self._reactor, self, post, options.path, delays) for _ in range(options.connections)
            ]
            return
        found = endpoint or stream_endpoint(
            self._reactor, options.transport, options.host, options.port, options.path, options.retry.timeout_s,
            self._tls,
        )  # fmt: skip
        self._links = [
            Link(self._reactor, found, partial(self._build, number), delays, self._attempt_failed)
            for number in range(options.connections)
        ]

    # state

    @property
    def connected(self) -> bool:
        """True while something can be sent: over HTTP, while the last request was answered."""
        return bool(self._outlets) or any(each.up for each in self._https)

    @property
    def queued_points(self) -> int:
        """Datapoints that wait in memory."""
        return self.spool.waiting_points

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(self)` at every change of `connected` and failed attempt; the returned callable ends that."""
        return self._listeners.add(listener)

    def take_peaks(self) -> tuple[int, int]:
        """Return the most datapoints that waited, (ever, for a connection to take them), since the last call."""
        found = self.spool.most_waiting_points, self.most_queued_until_ready
        self.spool.most_waiting_points = self.most_queued_until_ready = 0
        return found

    # in

    def start(self) -> None:
        """Connect, and send what the spool has."""
        for link in self._links:
            link.start()
        self._watch()

    def send(self, chunk: bytes, points: int, asked_bytes: int = 0) -> None:
        """Queue encoded bytes that carry `points` datapoints; `asked_bytes` is what `bytes_queued` counts for them."""
        counters, spool = self.account.counters, self.spool
        counters["bytes_queued"] = counters.get("bytes_queued", 0) + (asked_bytes or len(chunk))
        if self._closing is not None or self._must_reconnect():
            self.account.received += points
            self.account.drop(RECONNECTING if self._closing is None else STOPPED, points)
            self.failing = True
            return
        kept = spool.push(chunk, points, self._reactor.seconds())
        self.failing = kept < points
        if not (self._outlets or self._https):
            self.account.count("queued_until_connected", kept)
        elif spool.waiting_bytes >= EAGER_BYTES:
            self._pump()
        elif self._flush_call is None:
            self._flush_call = self._reactor.callLater(self.options.defer_s, self._flush)
        if self._timer is None:
            self._watch()

    def adopt(self, left: Sequence[tuple[bytes, int]]) -> None:
        """Queue, before all others, what a predecessor surrendered or left; none of it is dropped."""
        self.account.count("bytes_queued", sum(len(chunk) for chunk, _ in left))
        self.spool.adopt(left, self._reactor.seconds())
        self._watch()

    def _must_reconnect(self) -> bool:
        """Tell whether the queue is so long that the connection is given up, or already was."""
        if self.spool.waiting_bytes < self.options.reconnect_share * self.options.limits.max_bytes:
            return False
        if self._outlets and not self._resetting:
            self._resetting = True
            self.reset()
        return True

    def flush(self) -> None:
        """Write now what waits."""
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush()

    def _flush(self) -> None:
        self._flush_call = None
        self._pump()

    def _all_outlets(self) -> list[Outlet | HttpOutlet]:
        return [*self._outlets, *self._https]

    def _pump(self) -> None:
        """Let the connections write in turn, each as much as it can."""
        now = self._reactor.seconds()
        outlets = self._all_outlets()
        if len(outlets) > 1:
            self._turn = (self._turn + 1) % len(outlets)
            outlets = outlets[self._turn :] + outlets[: self._turn]
        for outlet in outlets:
            if not outlet.blocked:
                outlet.pump(now)
        if any(each.blocked or each.holding for each in outlets):
            self.most_queued_until_ready = max(self.most_queued_until_ready, self.spool.waiting_points)

    # what connections ask and tell

    def seconds(self) -> float:
        """Return the time of the queue."""
        now: float = self._reactor.seconds()
        return now

    def later(self, seconds: float, call: Callable[[], object]) -> IDelayedCall:
        """Call `call` after so many seconds."""
        made: IDelayedCall = self._reactor.callLater(seconds, call)
        return made

    def open_flight(self) -> Flight:
        """Return what a new connection sends from."""
        return self.spool.flight()

    def _build(self, number: int) -> IProtocol:
        if self._buffered or self._tls is not None:
            buffered = BufferedOutlet(self, self._socket_options, number)
            buffered.waits_for_handshake = self._tls is not None
            return buffered
        if self.options.transport == "udp":
            outlet = DatagramOutlet(self, self._socket_options, number)
            outlet.datagram_bytes = self.options.datagram_bytes
            return outlet
        return SocketOutlet(self, self._socket_options, number)

    def opened(self, outlet: Outlet) -> None:
        """Take note of a connection: what waits is sent at once."""
        was = self.connected
        self._outlets.append(outlet)
        self.account.count("connects")
        self._resetting = False
        if self.failed_attempts or not was:
            self._log.info("destination {key}: connected", key=self.key)
        self.failed_attempts = 0
        if not was:
            self._listeners.tell(self)
        outlet.pump(self.seconds())
        self._watch()

    def closed(self, outlet: Outlet, reason: Failure) -> None:
        """Take note of the end of a connection."""
        if outlet not in self._outlets:
            self._attempt_failed(reason)
            return
        self._outlets.remove(outlet)
        self.account.count("disconnects")
        if self._closing is None and not outlet.retired:
            self._log.warn("destination {key}: {why}", key=self.key, why=reason.getErrorMessage())
        if not self.connected:
            self._listeners.tell(self)
        self._watch()

    def _attempt_failed(self, failure: Failure) -> None:
        self.account.count("failed_connects")
        self.failed_attempts += 1
        if self.failed_attempts == 1:
            self._log.warn("destination {key}: {why}; will go on trying", key=self.key, why=failure.getErrorMessage())
        self._listeners.tell(self)

    def answered(self, why: Failure | None) -> None:
        """Take note of how a request went: None = well."""
        if why is not None:
            self._attempt_failed(why)
        elif self.failed_attempts:
            self._log.info("destination {key}: answers again", key=self.key)
            self.failed_attempts = 0
            self._listeners.tell(self)

    def count_batch(self, size: int) -> None:
        """Count one write of `size` bytes."""
        counters = self.account.counters
        counters["bytes_sent"] = counters.get("bytes_sent", 0) + size
        counters["batches"] = counters.get("batches", 0) + 1

    def count_refused(self, what: str, points: int) -> None:
        """Count a refusal, and the datapoints that are lost with it."""
        self.account.count(what)
        if points:
            self.account.out -= points
            self.account.drop(what, points)

    def _warn(self, text: str) -> None:
        self._log.warn("destination {key}: {text}", key=self.key, text=text)

    # the timer

    def _watch(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._reactor.callLater(POLL_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.seconds()
        for outlet in list(self._outlets):
            outlet.poll(now)
        self.spool.tick(now)
        self._pump()
        if self._closing is None:
            self._recycle(now)
            self._check_ratio(now)
            self._check_silence(now)
        if self._closing is not None and (self._drained() or now >= self._give_up_at):
            self._finish()
        elif self._busy():
            self._watch()

    def _busy(self) -> bool:
        if self._closing is not None or not self.spool.idle:
            return True
        if self.options.recycle_s < inf and self._outlets:
            return True
        return self.options.ratio_reset is not None

    def reset(self) -> None:
        """Give all connections up at once; they are made again."""
        for outlet in self._all_outlets():
            outlet.end()

    def _recycle(self, now: float) -> None:
        for outlet in self._outlets:
            if now - outlet.since >= self.options.recycle_s:
                outlet.retired = True
            if outlet.retired and outlet.settled and not outlet.released:
                outlet.release()
                self._links[outlet.number].again()

    def _check_ratio(self, now: float) -> None:
        ratio = self.options.ratio_reset
        if ratio is not None and self._outlets:
            since = max(outlet.since for outlet in self._outlets)
            if self._interval.is_slow(ratio, now, since, self.account):
                self.account.count("slow_resets")
                self._log.warn("destination {key}: takes too little, connecting anew", key=self.key)
                self.reset()

    def _check_silence(self, now: float) -> None:
        """Give connections up whose peer is gone without a word; look once a second."""
        if not self.options.unanswered_s or now < self._look_at:
            return
        self._look_at = now + _SILENCE_LOOK_S
        for outlet in list(self._outlets):
            seconds = outlet.silence_s()
            if seconds >= self.options.unanswered_s:
                self.account.count("silent_peers")
                text = "destination {key}: the peer confirms nothing since {seconds:.0f} s, connecting anew"
                self._log.warn(text, key=self.key, seconds=seconds)
                outlet.end()

    # the end, and changes

    def update(self, options: DestinationOptions) -> bool:
        """Take over changed options; False, with nothing changed, where only a new destination will do."""
        if options.target != self.options.target:
            return False
        self.options = options
        self.spool.limits = _limits(options)
        self._watch()
        return True

    def surrender(self) -> list[tuple[bytes, int]]:
        """Give what waits in memory to somebody else, who counts it as received."""
        return self.spool.surrender()

    def close(self, drain_s: float | None = None) -> Deferred[None]:
        """Send what waits in memory for up to `drain_s`, then leave the rest in the spool, or drop it (`stopped`)."""
        closed: Deferred[None] = Deferred()
        if self._closing is not None:
            self._closing.addBoth(lambda _: closed.callback(None))
            return closed
        self._closing = Deferred()
        self._closing.addBoth(lambda _: closed.callback(None))
        patience = self.options.drain_s if drain_s is None else drain_s
        self._give_up_at = self.seconds() + patience
        self.flush()
        if self._drained() or patience <= 0 or (self.spool.backlog is not None and not self.connected):
            self._finish()
        else:
            self._watch()
        return closed

    def leave(self, drain_s: float = 0.0) -> Deferred[list[tuple[bytes, int]]]:
        """Close within `drain_s`; fires with what waits, (bytes, datapoints) each, for the process that is next.

        With a spool that process finds all there, and the list is empty.
        """
        self._left = []
        left = self._left
        leaving: Deferred[Any] = self.close(drain_s)
        return leaving.addCallback(lambda _: left)

    def _drained(self) -> bool:
        return not self.spool.has_live and all(outlet.settled for outlet in self._all_outlets())

    def _finish(self) -> None:
        """Close every connection and the queue."""
        self._closed = True
        for call in (self._timer, self._flush_call):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._flush_call = None
        for outlet in list(self._outlets):
            outlet.release()
        self._timer = self._reactor.callLater(_CLOSING_S, self.reset)
        ended: list[Deferred[Any]] = [link.stop() for link in self._links] + [each.stop() for each in self._https]
        if self._own_post is not None:
            ended.append(self._own_post.close())
        DeferredList(ended).addBoth(self._ended)

    def _ended(self, _: object) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._left is not None and self.spool.backlog is None:
            self.spool.take_back(self.seconds())
            self._left += self.spool.surrender()
        self.spool.close(self.seconds())
        closing = self._closing or succeed(None)
        closing.callback(None)


class _Interval:
    """Counts what came and what was sent in each interval, to find connections that take too little."""

    def __init__(self, now: float) -> None:
        self._begun = now
        self._received = 0
        self._sent = 0
        self._last_reset = now

    def is_slow(self, ratio: RatioReset, now: float, connected: float, account: Account) -> bool:
        """Tell, at the end of an interval, whether it is time for a reset."""
        if now - self._begun < ratio.metric_s:
            return False
        sent = account.counters.get("sent", 0)
        received_now, sent_now = account.received - self._received, sent - self._sent
        self._begun, self._received, self._sent = now, account.received, sent
        if received_now < ratio.min_points or sent_now >= ratio.ratio * received_now:
            return False
        if now - max(self._last_reset, connected) < ratio.interval_s:
            return False
        self._last_reset = now
        return True
