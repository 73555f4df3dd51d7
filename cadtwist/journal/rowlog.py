"""A log of rows by id: frames of columns, each segment with the names of its ids.  The common part of window logs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.journal.segments import FRAME_BYTES, SegmentLog
from cadtwist.journal.wal import NAMES, raw
from cadtwist.model.batch import Floats, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["RowLog"]


@implementer(IHolder)
class RowLog:
    """Appends frames of rows.  Reactor thread, save `sync`.

    `account` counts `logged` values, and `unlogged` ones, which the disk refused.  Its gauges: `bytes`, `failing`,
    `torn`, `damaged`.
    """

    def __init__(self, log: SegmentLog, names: Names, account: Account) -> None:
        self.log = log
        self.account = account
        self._names = names
        self._named = IdFlags()
        self._named_in = 0
        self._turn_values = 0
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("failing", lambda: float(log.failing))
        account.gauge("torn", lambda: float(log.torn))
        account.gauge("damaged", lambda: float(log.damaged))

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system."""
        self._settle(self.log.write())

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self.log.sync()

    def release(self, before: int) -> None:
        """Let go of the segments before `before`: nothing needs what they tell."""
        self.log.release(before)

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim nothing: a name that goes is logged anew when it comes back."""
        return np.zeros(len(ids), np.bool_)

    def close(self, keep: bool) -> None:
        """Let go of the folder; without `keep` the log goes as well, because everything is told."""
        self._settle(self.log.write())
        if keep:
            self.log.close()
        else:
            self.log.discard()

    def _rows(self, kind: int, head: bytes, columns: tuple[Floats, ...], ids: Ids) -> None:
        """Append a frame `head | columns | ids`, after one with the names that its segment does not have yet."""
        names = self._unnamed(ids)
        need = (8 * len(columns) + 4) * len(ids) + 4 * FRAME_BYTES
        if self.log.size + need + (len(names[1]) + 8 * len(names[0]) if names else 0) > self.log.segment_bytes:
            self._settle(self.log.roll())
            names = self._unnamed(ids)
        if names is not None:
            new, blob, offsets = names
            count = len(new).to_bytes(8, "little")
            if not self.log.append(NAMES, count, raw(new), raw(offsets), blob, roll=False):
                return
            self._named.set(new)
        self.log.append(kind, head, *map(raw, columns), raw(ids), roll=False)

    def _unnamed(self, ids: Ids) -> tuple[Ids, bytes, Ids] | None:
        if self._named_in != self.log.serial:
            self._named_in = self.log.serial
            self._named.clear()
        new = self._named.unset(ids)
        return None if new is None else (new, *self._names.blob(new))

    def _settle(self, written: bool) -> None:
        self.account.count("logged" if written else "unlogged", self._turn_values)
        self._turn_values = 0
        if not written:
            self._named.clear()
