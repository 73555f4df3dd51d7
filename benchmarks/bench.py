"""What every group of benchmarks needs: folders, peers that are surely stopped, medians."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Measured, Tuning, start
from benchmarks.report import Row
from tests.system.environment import Missing

__all__ = ["Bench", "Group", "say"]


def say(text: str) -> None:
    """Tell progress on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Bench:
    """How thoroughly to measure.

    `scale` shrinks the numbers of names and files (1 = the bars' own), `seconds` is the length of one load, `repeat`
    how often peers are run in turn; `only` names the peers (empty: all), `work` the parent of temporary folders.
    """

    scale: float = 1.0
    seconds: float = 4.0
    repeat: int = 3
    only: tuple[str, ...] = ()
    work: Path | None = None

    def scaled(self, count: int) -> int:
        """Return `count` shrunk."""
        return max(20, int(count * self.scale))

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Lend a temporary folder."""
        made = Path(tempfile.mkdtemp(prefix="cadtwist-bench-", dir=self.work))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    @contextmanager
    def peer(self, name: str, tuning: Tuning | None = None, folder: Path | None = None) -> Iterator[Measured]:
        """Lend a running peer; it is killed at the end (its files are of no further use)."""
        with self.folder() as made:
            measured = start(name, (folder or made) / name, tuning or Tuning())
            try:
                yield measured
            finally:
                measured.process.kill()

    def wanted(self, *peers: str) -> tuple[str, ...]:
        """Return those of `peers` that shall be run."""
        return tuple(peer for peer in peers if not self.only or peer in self.only)

    def in_turn(
        self, peers: tuple[str, ...], measure: Callable[[str], dict[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Measure the peers one after the other, `repeat` times; return the median of each figure by peer."""
        runs: dict[str, list[dict[str, float]]] = {}
        for turn in range(self.repeat):
            for peer in peers:
                try:
                    figures = measure(peer)
                except Missing as reason:
                    say(f"{peer}: left out: {reason}")
                    continue
                say(f"{peer} #{turn + 1}: " + ", ".join(f"{key} {figure:.6g}" for key, figure in figures.items()))
                runs.setdefault(peer, []).append(figures)
        return {
            peer: {key: statistics.median(figures[key] for figures in each) for key in each[0]}
            for peer, each in runs.items()
        }


Group = Callable[[Bench], Iterator[Row]]
