"""Evaluating render targets: what they need is planned, fetched at once, and then computed.

The planning pass walks all targets and collects each pattern with each range that it will be asked for; what cannot
be known before (a window counted in points, a query that another one names) is fetched when it is met.  A metric is
read once for each range of a request.  Pure: everything that comes from elsewhere comes through `ISources`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timezone, tzinfo
from typing import Any, Protocol

import numpy as np
from msgspec import Struct, field

from cadtwist.errors import CadtwistError
from cadtwist.query.consolidate import ConsolidationError
from cadtwist.query.find import QueryError
from cadtwist.query.functions.context import Context, CostError, Frame, RequestScope
from cadtwist.query.functions.spec import ArgumentError, Function, bind
from cadtwist.query.reducing import UnsupportedError
from cadtwist.query.target import Call, Literal, Node, Path, TargetError, Template, Value, bound_path, parse_target
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.query.timespec import TimeSpecError

__all__ = ["EvaluationError", "ISources", "Query", "evaluate"]

_TAG_QUERY = "seriesByTag"
_UNKNOWN = "Received request for unknown function: "
_BAD_TEMPLATE = "invalid template() syntax, only string/numeric arguments are allowed"
_FAULTS = (
    ArgumentError, ConsolidationError, CostError, QueryError, TargetError, TimeSpecError, UnsupportedError,
)  # fmt: skip
_MOST_RANGES = 2000
_FURTHEST_S = 1 << 34
_TEXTS = ("string", "date", "aggFunc", "aggOrSeriesFunc")

Bindings = Mapping[str, Value]


class EvaluationError(CadtwistError):
    """A request cannot be evaluated as it is; `targets` are the ones at fault."""

    def __init__(self, message: str, targets: Sequence[str]) -> None:
        super().__init__(message)
        self.targets = list(targets)


class ISources(Protocol):
    """Where series come from."""

    async def fetch(self, patterns: Sequence[str], window: Window) -> dict[str, list[TimeSeries]]:
        """Return the series of each pattern, sorted by name, as read for a range."""

    async def events(self, tags: Sequence[str], start: int, end: int) -> Sequence[int]:
        """Return the times of the events that have all tags, from `start` up to and including `end`."""


async def _at_once() -> None:
    return None


class Query(Struct, frozen=True):
    """What is asked for: targets, and the range [start, end) in epoch seconds.

    `now` is what times are relative to, `clock` the real time; `zone` is the request's, `home` the server's;
    `bindings` are the values of `$name` that win over those of templates.  `points`, `calls` and `series` are what may
    be spent: values that functions make, functions called, series fetched.  `breathe` lets others run in between.
    """

    targets: tuple[str, ...]
    start: int
    end: int
    now: int
    clock: int
    zone: tzinfo = timezone.utc
    home: tzinfo = timezone.utc
    xff: float = 0.0
    bindings: Bindings = field(default_factory=dict)
    points: int = 20_000_000
    calls: int = 20_000
    breathe: Callable[[], Awaitable[None]] = _at_once


async def evaluate(query: Query, sources: ISources, functions: Mapping[str, Function]) -> list[TimeSeries]:
    """Return the series of all targets in their order; EvaluationError for what a target does wrong."""
    return await _Evaluation(query, sources, functions).run()


class _Evaluation:
    """One request on its way."""

    def __init__(self, query: Query, sources: ISources, functions: Mapping[str, Function]) -> None:
        self._query = query
        self._sources = sources
        self._functions = functions
        self._fetched: dict[Window, dict[str, list[TimeSeries]]] = {}
        self._request = RequestScope(
            query.now, query.clock, functions, self._node, parse_target, sources.events, query.zone, query.home,
            query.points, query.calls,
        )  # fmt: skip

    async def run(self) -> list[TimeSeries]:
        query = self._query
        frame = Frame(query.start, query.end, query.xff)
        context = Context(self._request, frame)
        nodes = []
        for target in query.targets:
            try:
                nodes.append(parse_target(target))
            except TargetError as error:
                raise EvaluationError(str(error), [target]) from None
        needs: dict[Window, dict[str, None]] = {}
        for target, node in zip(query.targets, nodes, strict=True):
            try:
                self._plan(context, node, {}, Window(frame.start, frame.end), needs)
            except _FAULTS as error:
                raise EvaluationError(str(error), [target]) from None
        for window, patterns in needs.items():
            try:
                await self._fetch(window, patterns)
            except _FAULTS as error:
                raise EvaluationError(str(error), query.targets) from None
        results: list[TimeSeries] = []
        for target, node in zip(query.targets, nodes, strict=True):
            try:
                results += await self._shown(context, node)
            except _FAULTS as error:
                raise EvaluationError(str(error), [target]) from None
        return results

    async def _shown(self, context: Context, node: Node) -> list[TimeSeries]:
        found = await self._value(context, node, {})
        if not isinstance(found, list) or (found and not isinstance(found[0], TimeSeries)):
            raise ArgumentError("The target does not stand for series")
        return found

    # Planning

    def _plan(
        self, context: Context, node: Node, bindings: Bindings, window: Window, needs: dict[Window, dict[str, None]]
    ) -> None:
        """Add to `needs` what a node asks for in a range, as far as that is known."""
        if isinstance(node, Path):
            value = bound_path(node.text, bindings)
            if isinstance(value, str) and not (node.text.startswith("$") and node.text[1:] in bindings):
                if len(needs) >= _MOST_RANGES and window not in needs:
                    raise CostError(f"The request means more than {_MOST_RANGES} ranges of time")
                needs.setdefault(window, {})[value] = None
        elif isinstance(node, Template):
            merged = {**dict(node.bindings), **self._query.bindings}
            self._plan(context, node.body, merged, window, needs)
        elif isinstance(node, Call):
            self._plan_call(context, node, bindings, window, needs)

    def _plan_call(
        self, context: Context, call: Call, bindings: Bindings, window: Window, needs: dict[Window, dict[str, None]]
    ) -> None:
        if call.name == _TAG_QUERY:
            needs.setdefault(window, {})[call.text] = None
            return
        function = self._function(call)
        windows = [window]
        if function.reach is not None and call.arguments:
            literal = self._literals(call, function)
            if literal is not None:
                moved = Context(context.request, Frame(window.start, window.end, 0.0))
                windows += [one for one in function.reach(moved, literal) if one != window]
        for place, argument in enumerate(call.arguments):
            if not _is_text(function, place, argument):
                for one in windows if place == 0 else (window,):
                    self._plan(context, argument, bindings, one, needs)
        for _, argument in call.keywords:
            self._plan(context, argument, bindings, window, needs)

    def _literals(self, call: Call, function: Function) -> list[Any] | None:
        """Return the arguments behind the first one if all are literals that fit, else None."""
        if not all(isinstance(node, Literal) for node in (*call.arguments[1:], *(node for _, node in call.keywords))):
            return None
        arguments: list[Any] = [[], *(node.value for node in call.arguments[1:] if isinstance(node, Literal))]
        keywords = {name: node.value for name, node in call.keywords if isinstance(node, Literal)}
        try:
            return bind(call.name, function, arguments, keywords)[1:]
        except ArgumentError:
            return None

    def _function(self, call: Call) -> Function:
        if call.name == "template":
            raise ArgumentError(_BAD_TEMPLATE)
        function = self._functions.get(call.name)
        if function is None:
            raise ArgumentError(f"{_UNKNOWN}{call.name}")
        return function

    # Fetching

    async def _fetch(self, window: Window, patterns: Iterable[str]) -> None:
        if not -_FURTHEST_S <= window.start <= window.end <= _FURTHEST_S:
            raise ArgumentError("A range of time is too far away")
        known = self._fetched.setdefault(window, {})
        missing = [pattern for pattern in patterns if pattern not in known]
        if missing:
            known.update(await self._sources.fetch(missing, window))

    async def _series(self, context: Context, pattern: str) -> list[TimeSeries]:
        window = Window(context.start, context.end)
        found = self._fetched.get(window, {}).get(pattern)
        if found is None:
            if len(self._fetched) >= _MOST_RANGES:
                raise CostError(f"The request means more than {_MOST_RANGES} ranges of time")
            await self._fetch(window, [pattern])
            found = self._fetched[window].get(pattern, [])
        self._request.called(len(found))
        xff = context.xff
        return [
            series if series.expression == pattern and series.xff == xff else _as_asked(series, pattern, xff)
            for series in found
        ]

    # Evaluating

    async def _node(self, context: Context, node: Node, bindings: Bindings) -> list[TimeSeries]:
        """Return the series of an expression; its paths are planned and fetched together."""
        needs: dict[Window, dict[str, None]] = {}
        self._plan(context, node, bindings, Window(context.start, context.end), needs)
        for window, patterns in needs.items():
            if len(self._fetched) >= _MOST_RANGES:
                raise CostError(f"The request means more than {_MOST_RANGES} ranges of time")
            await self._fetch(window, patterns)
        found = await self._value(context, node, bindings)
        if not isinstance(found, list):
            raise ArgumentError("An expression does not stand for series")
        return found

    async def _value(self, context: Context, node: Node, bindings: Bindings) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Path):
            value = bound_path(node.text, bindings)
            if not isinstance(value, str) or (node.text.startswith("$") and node.text[1:] in bindings):
                return value
            return await self._series(context, value)
        if isinstance(node, Template):
            return await self._value(context, node.body, {**dict(node.bindings), **self._query.bindings})
        return await self._called(context, node, bindings)

    async def _called(self, context: Context, call: Call, bindings: Bindings) -> Any:
        if call.name == _TAG_QUERY:
            return await self._series(context, call.text)
        function = self._function(call)
        arguments: list[Any] = []
        for place, node in enumerate(call.arguments):
            if _is_text(function, place, node) and isinstance(node, Path):
                arguments.append(bound_path(node.text, bindings))
            else:
                arguments.append(await self._value(context, node, bindings))
        keywords = {name: await self._value(context, node, bindings) for name, node in call.keywords}
        self._request.called(sum(len(value) for value in arguments if isinstance(value, list)))
        try:
            bound = bind(call.name, function, arguments, keywords)
        except ArgumentError as error:
            raise ArgumentError(f"{error} at column {call.column}") from None
        first = call.arguments[0] if call.arguments else None
        with np.errstate(all="ignore"):
            made = function.call(context.of(first, bindings), *bound)
            if inspect.isawaitable(made):
                made = await made
        await self._query.breathe()
        return made


def _as_asked(series: TimeSeries, pattern: str, xff: float) -> TimeSeries:
    one = series.copy()
    one.expression, one.xff = pattern, xff
    return one


def _is_text(function: Function, place: int, node: Node) -> bool:
    """Tell whether a path stands where a function takes text: it is that text, as in `randomWalk(x)`."""
    if not isinstance(node, Path) or not function.params:
        return False
    if place >= len(function.params) and not function.params[-1].multiple:
        return False
    return function.params[min(place, len(function.params) - 1)].type in _TEXTS
