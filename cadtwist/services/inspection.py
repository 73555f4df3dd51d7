"""What a process is busy with, what fills its memory, where its threads stand: texts for whoever runs it."""

from __future__ import annotations

import cProfile
import gc
import io
import pstats
import sys
import threading
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from cadtwist.errors import CadtwistError

__all__ = ["Inspection", "heap_text", "stacks_text"]

_ROWS = 100
_PLACES = 50


class Inspection:
    """Reactor thread; a profile is of that thread alone, and there is one at a time."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._profiling = False

    def text(self, what: str, seconds: float) -> str | Deferred[str]:
        """Return what there is to tell: `profile` (of the next `seconds`), `heap` or `stacks`.

        CadtwistError while another profile is taken.
        """
        if what == "profile":
            return self.profile(seconds)
        return heap_text(gc.get_objects()) if what == "heap" else stacks_text()

    def profile(self, seconds: float) -> Deferred[str]:
        """Return what the reactor's thread does in the next `seconds`, by cumulative time."""
        if self._profiling:
            raise CadtwistError("a profile is being taken already")
        self._profiling = True
        profile = cProfile.Profile()
        done: Deferred[str] = Deferred()

        def end() -> None:
            profile.disable()
            self._profiling = False
            if not done.called:
                done.callback(f"{seconds:g} s of the reactor's thread\n{_profile_text(profile)}")

        self._reactor.callLater(max(0.0, seconds), end)
        profile.enable()
        return done


def _profile_text(profile: cProfile.Profile) -> str:
    text = io.StringIO()
    try:
        stats = pstats.Stats(profile, stream=text)
    except TypeError:  # nothing was called
        return "nothing was called\n"
    stats.sort_stats(pstats.SortKey.CUMULATIVE).print_stats(_ROWS)
    return text.getvalue()


def heap_text(objects: Iterable[object]) -> str:
    """Return how many there are of each type, and their own bytes, the most first.

    Only what the garbage collector tracks is seen: columns and tables of names are in /ledger.  While tracemalloc
    runs (`python -X tracemalloc`), where most memory was asked for is told as well.
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for each in objects:
        kind = type(each)
        name = f"{kind.__module__}.{kind.__qualname__}"
        counts[name] += 1
        sizes[name] += sys.getsizeof(each, 0)
    lines = [f"{'objects':>10} {'bytes':>12}  type"]
    lines += [f"{count:10} {sizes[name]:12}  {name}" for name, count in counts.most_common(_ROWS)]
    if tracemalloc.is_tracing():
        lines.append("\nmemory by the place that asked for it")
        lines += [str(each) for each in tracemalloc.take_snapshot().statistics("lineno")[:_PLACES]]
    return "\n".join(lines) + "\n"


def stacks_text() -> str:
    """Return where every thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():
        lines.append(f"thread {names.get(ident, '?')} ({ident})\n")
        lines += traceback.format_stack(frame)
        lines.append("\n")
    return "".join(lines)
