"""Everything between the bytes of istatd's lines and its files, at a clock that a test sets."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import Any

import numpy as np

from cadtwist.cache.counters import CounterCache
from cadtwist.codec.istat import StatCodec, StatTail
from cadtwist.kernels import active
from cadtwist.kernels.statformat import munge
from cadtwist.model.badinput import BadInput
from cadtwist.model.statjob import Shift
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.model.summary import SummaryColumns
from cadtwist.query.istat import Selection, select
from cadtwist.stages.rollup import NameSpread, carets, levels_above
from cadtwist.storage.statfile import StatFileOptions, StatStore
from cadtwist.telemetry import Account

__all__ = ["DATA", "IstatRig", "golden", "golden_files"]

DATA = os.path.join(os.path.dirname(__file__), "data", "istatd")


def golden(*path: str) -> Any:
    """Return a recorded JSON document."""
    with open(os.path.join(DATA, *path), encoding="utf-8") as file:
        return json.load(file)


def golden_files() -> dict[str, bytes]:
    """Return the recorded StatFiles, their dumps and the steps that made them, by path."""
    found = {}
    with tarfile.open(os.path.join(DATA, "statfiles.tar.gz")) as archive:
        for member in archive.getmembers():
            data = archive.extractfile(member)
            if data is not None:
                found[member.name.removeprefix("statfiles/")] = io.BytesIO(data.read()).getvalue()
    return found


class IstatRig:
    """A daemon's parts, wired; `now` is its clock."""

    def __init__(
        self, root: str, retention: str, now: float, rollup: int = 0, parents: bool = True, sparse: bool = True
    ) -> None:
        self.now = now
        self.bad: dict[str, int] = {}
        retentions = parse_stat_retentions(retention)
        options = StatFileOptions(parents=parents, sparse=sparse)
        self.store = StatStore(root, retentions, options, shown_root="/srv/istatd/store")
        self.table = active.table.MetricTable(1)
        self.accounts = {name: Account(name) for name in ("carets", "rollup", "cache")}
        self.cache = CounterCache(
            self.table, self.accounts["cache"], self.store.is_event, lambda: self.now,
            step_s=retentions[0].interval, most=1_000_000,
        )  # fmt: skip
        up = NameSpread(levels_above(rollup), self.table, self.cache, self.accounts["rollup"])
        self.entry = NameSpread(carets, self.table, up, self.accounts["carets"])
        self.codec = StatCodec(self.table, SummaryColumns(8192), self.entry.accept, lambda _tail, _line: None)
        self.tail = StatTail()

    def feed(self, data: bytes | str) -> None:
        """Read lines as a connection sends them."""
        data = data.encode() if isinstance(data, str) else data
        self.codec.feed(self.tail, data, self.now, self._wrong)
        self.codec.flush()

    def flush(self, shift: Shift = Shift.ALL) -> None:
        """Write all that waits."""
        self.cache.begin(shift)
        while (job := self.cache.take(100)) is not None:
            statuses = self.store.write(job)
            self.cache.confirm(job, statuses, self.store.holds(job.ids))

    def select(self, name: str, start: int = 0, end: int = 0, most: int = 1000, trailing: bool = False) -> Selection:
        """Read a counter, samples that wait included."""
        counter = munge(name.encode())
        number = self.cache.counter_of(counter)
        with self.store.reader(counter) as reader:
            if number != 0xFFFFFFFF:
                reader.replay(*self.cache.peek(number), self.store.lane_of(number).state(number))
            return select(reader.headers(), reader.cells, start, end, int(self.now), most, trailing)

    def sums(self, name: str, file: str) -> list[float]:
        """Return the sums in a file, first to last bucket, as istatd's dump shows them."""
        number = [retention.name for retention in self.store.retentions].index(file)
        with self.store.reader(munge(name.encode())) as reader:
            head = reader.headers()[number]
            assert head is not None
            cells = reader.cells(number, head.first_bucket, head.last_bucket - head.first_bucket + 1)
        return [float(np.float32(cell["sum"])) for cell in cells if cell["time"] > 0]

    def path(self, name: str, file: str) -> str:
        """Return the path of a counter's file."""
        return os.path.join(self.store.root, name.replace(".", "/"), file)

    def _wrong(self, bad: BadInput, lines: int) -> None:
        self.bad[bad.kind] = self.bad.get(bad.kind, 0) + lines
