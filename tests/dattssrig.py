"""A DaTtSs server under a clock of the test's own: real files, no thread, no socket."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.dattss import DattssKeys
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.journal.partiallog import PartialLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.services.dattssnode import DattssNode
from cadtwist.stages.dattss import WINDOW_S
from cadtwist.storage.dattssbook import DattssBook
from cadtwist.storage.summarydb import SummaryStore
from cadtwist.telemetry import Telemetry
from cadtwist.web.dattss import DattssResource
from cadtwist.web.requests import BoundedSite
from tests.web.wire import Client, Reply, request_bytes

__all__ = ["START", "DattssCase", "Rig", "body", "partial"]

START = 1_767_323_045.0
"""2026-01-02T03:04:05Z, when the recorded timeline begins."""

CONFIG = DattssConfig(secret="secret", may_sign_up=True)
KEYS = DattssKeys("secret")


def partial(path: str, *values: float, name: str = "pth", **more: Any) -> dict[str, Any]:
    """Return a partial as clients send it."""
    return {
        name: path, "pct": 0.1, "sum": sum(values), "cnt": len(values), "max": max(values), "min": min(values),
        "fst": values[0], "lst": values[-1], "top": max(values), "bot": min(values), "emp": False, **more,
    }  # fmt: skip


def body(c: Any = (), g: Any = (), ms: Any = (), **more: Any) -> bytes:
    """Return the body of a PUT /agg."""
    parts = {"c": c, "g": g, "ms": ms}
    prt = {kind: [{"typ": kind, **each} for each in found] for kind, found in parts.items()}
    return json.dumps({**more, "prt": prt}).encode()


class Rig:
    """One life of a server whose files are in `folder`.  `mails` are (to, subject, page)."""

    def __init__(self, folder: str, clock: Clock, config: DattssConfig = CONFIG, forwarding: Any = None) -> None:
        self.clock = clock
        self.config = config
        self.telemetry = Telemetry()
        self.mails: list[tuple[str, str, str]] = []
        self.blocking = 0
        self.between: Callable[[], object] = lambda: None
        self._held: list[Callable[[], object]] = []
        self.store = SummaryStore(os.path.join(folder, "minutes.sqlite"), config.history_days)
        self.book = DattssBook(os.path.join(folder, "book.sqlite"))
        log = SegmentLog(os.path.join(folder, "log"), 1 << 16)
        self.log = PartialLog(log, self.telemetry.account("dattss log"), WINDOW_S)
        self.node = DattssNode(
            clock.seconds, config, self.telemetry, self.store, self.book, self.log, self.in_thread, self.mail,
            self.in_slices,
        )  # fmt: skip
        self.node.recover()
        resource = DattssResource(clock, self.node, self.telemetry.account("dattss http"), forwarding)
        self.site: Any = BoundedSite(resource, config.max_body_bytes, clock)

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Do it at once; or, while `blocking`, when `unblock` is called."""
        if not self.blocking:
            return maybeDeferred(function, *arguments)
        done: Deferred[Any] = Deferred()
        self._held.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done))
        return done

    def in_slices(self, work: Iterator[None]) -> Deferred[Any]:
        """Do it at once; `between`, if there is such, is called between the slices."""
        for _ in work:
            self.between()
        return succeed(None)

    def unblock(self) -> None:
        """Do what was put off."""
        self.blocking = 0
        held, self._held = self._held, []
        for each in held:
            each()

    def mail(self, to: str, subject: str, page: str) -> Deferred[Any]:
        """Take a mail."""
        self.mails.append((to, subject, page))
        return succeed(None)

    def client(self, method: str, path: str, data: bytes = b"", **headers: str) -> Client:
        """Return a connection that has asked."""
        client = Client(self.site, self.clock)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client.send(request_bytes(method, path, (), named, data))
        return client

    def ask(self, method: str, path: str, data: bytes = b"", **headers: str) -> Reply:
        """Return the answer to a request."""
        return self.client(method, path, data, **headers).reply()

    def put(self, data: bytes, user: str = "user1") -> Reply:
        """Put partials."""
        return self.ask("PUT", f"/agg?auth={KEYS.key(user)}", data)

    def json(self, path: str, method: str = "GET", user: str = "user1", data: bytes = b"") -> Any:
        """Return what a user is answered."""
        join = "&" if "?" in path else "?"
        return json.loads(self.ask(method, f"{path}{join}auth={KEYS.key(user)}", data).body)

    def balance(self) -> dict[str, int]:
        """Return what does not add up."""
        return {each.name: each.balance() for each in self.telemetry.accounts.values() if each.balance()}

    def close(self, stored: bool = True) -> None:
        """End this life in order, or as kill -9 would."""
        if stored:
            self.node.push()
            self.node.commit()
        self.log.close()
        self.store.close()
        self.book.close()


class DattssCase(SynchronousTestCase):
    """A server, and further lives of it in the same folder."""

    config = CONFIG

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.clock = Clock()
        self.clock.advance(START)
        self.rig = self.started()

    def started(self, **changes: Any) -> Rig:
        rig = Rig(self.folder, self.clock, replace(self.config, **changes))
        self.addCleanup(rig.close, stored=False)
        return rig

    def again(self, stored: bool = True, **changes: Any) -> Rig:
        """End the server in order (or not), and start the next."""
        self.rig.close(stored)
        self.rig = self.started(**changes)
        return self.rig
