"""What a counter daemon needs of replication: a master's feed, or the replica that stands in for its writer."""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from cadtwist.config.istatchecks import host_and_port
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.interfaces import ISummarySink
from cadtwist.model.summary import SummaryBatch
from cadtwist.services.replica import Replica, ReplicaParts
from cadtwist.services.replicafeed import ReplicaFeed
from cadtwist.services.replicamark import ReplicaMark, boot_id
from cadtwist.telemetry import Account

__all__ = ["Refusing", "ReplicaParts", "feed_of", "replica_of", "replica_stats"]


@implementer(ISummarySink)
class Refusing:
    """Takes nothing: every sample is dropped for one reason."""

    def __init__(self, account: Account, reason: str) -> None:
        self._account = account
        self._reason = reason

    def accept(self, batch: SummaryBatch) -> None:
        """Drop samples."""
        self._account.received += len(batch)
        self._account.drop(self._reason, len(batch))


def _mark_of(config: IstatConfig) -> ReplicaMark:
    return ReplicaMark(os.path.abspath(config.store) + ".replica", boot_id())


def replica_of(reactor: Any, config: IstatConfig, parts: ReplicaParts, account: Account) -> Replica:
    """Return the replica that the configuration wants."""
    host, port = host_and_port(config.replica_of)
    return Replica(reactor, host, port, parts, _mark_of(config), account, config.allocation == "sparse")


def feed_of(reactor: Any, config: IstatConfig, parts: ReplicaParts, account: Account) -> ReplicaFeed | None:
    """Return the feed of replicas, None where there is no door for them.

    A store that was a replica's so far is one of its own from now on.
    """
    if _mark_of(config).remove():
        Logger().error("{store} was not yet all that its master has, and now goes its own way", store=config.store)
    if not config.replica_port:
        return None
    return ReplicaFeed(reactor, parts.table, parts.store, account, os.urandom(16))


def replica_stats(config: IstatConfig, feed: ReplicaFeed | None, writer: object) -> list[tuple[str, str]]:
    """Return what the admin command `stats` shows of replication."""
    found = []
    if feed is not None:
        found += [("replicaServer.port", str(config.replica_port)), ("replicaServer.current", str(feed.replicas))]
    if isinstance(writer, Replica):
        found += [
            ("replicaOf.source", config.replica_of),
            ("replicaOf.connected", str(int(writer.connected))),
            ("replicaOf.inStep", str(int(writer.in_step))),
            ("replicaOf.queue", str(writer.waiting)),
        ]
    return found
