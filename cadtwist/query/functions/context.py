"""What render functions know of the request that they work for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timezone, tzinfo

from cadtwist.errors import CadtwistError
from cadtwist.query.functions.spec import Function
from cadtwist.query.target import Node, Value
from cadtwist.query.timeseries import Floats, TimeSeries

__all__ = ["Context", "CostError", "Evaluate", "Frame", "RequestScope"]

_SERIES_PER_CALL = 100
_MOST_DEPTH = 4

Evaluate = Callable[["Context", Node, Mapping[str, Value]], Awaitable[list[TimeSeries]]]
"""(context, expression, values of `$name`) -> series."""


class CostError(CadtwistError):
    """A request costs more than it may."""


@dataclass
class RequestScope:
    """What all expressions of a request share.

    `now` is what times and archives are relative to, `clock` the real time; `zone` is that of the request, `home` that
    of the server.  `points` and `calls` are what is left of the budget: values that functions may make, functions that
    may be called.  `stacks` are the sums of `stacked`, by name, and whether they are whole numbers.
    """

    now: int
    clock: int
    functions: Mapping[str, Function]
    evaluate: Evaluate
    parse: Callable[[str], Node]
    events: Callable[[Sequence[str], int, int], Awaitable[Sequence[int]]]
    zone: tzinfo = timezone.utc
    home: tzinfo = timezone.utc
    points: int = 20_000_000
    calls: int = 20_000
    depth: int = 0
    stacks: dict[str, tuple[Floats, bool]] = field(default_factory=dict)

    def spend(self, points: int) -> None:
        """Take `points` values from the budget before they are made; CostError beyond it."""
        self.points -= points
        if self.points < 0:
            raise CostError("The request means more points than one may ask for")

    def called(self, series: int = 0) -> None:
        """Count a call, or a pattern, with so many series; CostError beyond the budget."""
        self.calls -= 1 + series // _SERIES_PER_CALL
        if self.calls < 0:
            raise CostError("The request means more function calls than one may ask for")


@dataclass
class Frame:
    """The range [start, end) that expressions are evaluated in, epoch seconds, and what they share there.

    `xff` is the least share of known values that combining asks for; setXFilesFactor changes it for what comes later.
    """

    start: int
    end: int
    xff: float


@dataclass(frozen=True)
class Context:
    """The view of one call: its frame, and the expression of its first argument with the values of `$name` in it."""

    request: RequestScope
    frame: Frame
    argument: Node | None = None
    bindings: Mapping[str, Value] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """The first second that is asked for."""
        return self.frame.start

    @property
    def end(self) -> int:
        """The second behind the last one that is asked for."""
        return self.frame.end

    @property
    def xff(self) -> float:
        """The least share of known values that combining asks for."""
        return self.frame.xff

    def keep_xff(self, xff: float) -> None:
        """Change `xff` for whatever is evaluated later in this frame."""
        self.frame.xff = xff

    def of(self, argument: Node | None, bindings: Mapping[str, Value]) -> Context:
        """Return the view of another call in the same frame."""
        return Context(self.request, self.frame, argument, bindings)

    async def again(self, start: int, end: int) -> list[TimeSeries]:
        """Return the first argument in another range."""
        if self.argument is None:
            return []
        frame = Frame(start, end, self.frame.xff)
        return await self.request.evaluate(Context(self.request, frame), self.argument, self.bindings)

    async def query(self, text: str) -> list[TimeSeries]:
        """Return the series of a target's text in the same range; CostError where such texts name too many others."""
        frame = Frame(self.start, self.end, self.frame.xff)
        request = self.request
        if request.depth >= _MOST_DEPTH:
            raise CostError("The request means more queries within queries than one may ask for")
        request.depth += 1
        try:
            return await request.evaluate(Context(request, frame), request.parse(text), {})
        finally:
            request.depth -= 1

    def sized(self, length: int) -> int:
        """Return how many values a new series is to have, 0 for fewer; CostError beyond the budget."""
        length = max(length, 0)
        self.request.spend(length)
        return length
