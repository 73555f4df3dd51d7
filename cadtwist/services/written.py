"""What follows a write job: the names index, the creates and updates logs, faulty files, the tag database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from twisted.logger import Logger

from cadtwist.config.model import Config
from cadtwist.model.writejob import CREATED, WRITTEN, Statuses, WriteJob
from cadtwist.net.tagdb import TagPoster
from cadtwist.services.known import KnownNames
from cadtwist.telemetry import Account

__all__ = ["AfterWrite"]


class AfterWrite:
    """Called with each finished job; reactor thread.  Python runs per created file, and per update only when logged.

    `config()` and `tags()` are those of the moment.  `reports` are the store's, each told once.
    """

    _log = Logger()

    def __init__(
        self,
        config: Callable[[], Config],
        known: KnownNames,
        store: Any,
        account: Account,
        tags: Callable[[], TagPoster | None],
    ) -> None:
        self._config = config
        self._known = known
        self._reports = getattr(store, "reports", None)
        self._account = account
        self._tags = tags
        self._updates = 0

    def __call__(self, job: WriteJob, statuses: Statuses) -> None:
        """Follow up `job`."""
        log = self._config().log
        created = np.flatnonzero(statuses == CREATED).tolist()
        if created:
            self._known.written(job, statuses)
            if log.creates:
                for row in created:
                    self._log.info("creating database metric {metric}", metric=_text(job, row), log_file="creates")
        if log.updates:
            self._log_updates(job, statuses)
        if self._reports is not None:
            self._report(self._reports())
        tags = self._tags()
        if tags is not None:
            self._tell_tags(tags, job, created, statuses)

    def _log_updates(self, job: WriteJob, statuses: Statuses) -> None:
        sizes = np.diff(job.offsets)
        for row in np.flatnonzero(statuses <= CREATED).tolist():
            self._log.info(
                "wrote {points} datapoints for {metric}",
                points=int(sizes[row]),
                metric=_text(job, row),
                log_file="updates",
            )

    def _report(self, reports: list[Any]) -> None:
        for report in reports:
            self._account.count(f"files_{report.kind}")
            self._log.warn(
                "{metric}: {kind} {error}", metric=report.name, kind=report.kind, error=report.error, log_file="console"
            )

    def _tell_tags(self, poster: TagPoster, job: WriteJob, created: list[int], statuses: Statuses) -> None:
        tags = self._config().tags
        if tags.skip_untagged and b";" not in job.names:
            return
        for row in created:
            name = _text(job, row)
            if ";" in name or not tags.skip_untagged:
                poster.add(name)
        updated = np.flatnonzero((statuses == WRITTEN) | (statuses == CREATED))
        before, self._updates = self._updates, self._updates + len(updated)
        first = -before % tags.update_interval
        for row in updated[first :: tags.update_interval].tolist():
            name = _text(job, row)
            if ";" in name or not tags.skip_untagged:
                poster.update(name)


def _text(job: WriteJob, row: int) -> str:
    return job.name(row).decode("utf-8", "replace")
