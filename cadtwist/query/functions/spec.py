"""What a render function is: its names, group and parameters as data, and how arguments are bound to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cadtwist.errors import CadtwistError
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.query.timespec import TimeSpecError, parse_offset

__all__ = [
    "AGG_FUNC", "SERIES", "SERIES_LISTS", "ArgumentError", "Function", "Param", "bind", "render_function",
]  # fmt: skip

Found = list[TimeSeries]
Reach = Callable[[Any, Sequence[Any]], Sequence[Window]]
"""(context, arguments behind the first) -> the further ranges in which a function asks for its first argument."""


class ArgumentError(CadtwistError):
    """A function cannot take an argument; the message says which and why."""


@dataclass(frozen=True)
class Param:
    """A parameter as `/functions` publishes it.

    `type` is one of graphite-web's; `keyword` is the name by which targets may give it, where that is another one;
    `takes` the type that is checked, where more is accepted than is published; `otherwise` is what stands for a
    required one that is missing; `shown` the default that is published, where that is another one; `options` and
    `suggestions` are for whoever writes a target.
    """

    name: str
    type: str
    required: bool = False
    default: object = None
    multiple: bool = False
    options: tuple[object, ...] = ()
    suggestions: tuple[object, ...] = ()
    keyword: str = ""
    takes: str = ""
    otherwise: object = None
    shown: object = None


@dataclass(frozen=True, eq=False)
class Function:
    """A render function: `call(context, *arguments)` gives series, or an awaitable of them.

    `names` has aliases behind the first; `callback`: it may combine the groups of groupByNode and its like; `reach`
    tells in which further ranges it will ask for its first argument, so that all is fetched at once.
    """

    names: tuple[str, ...]
    group: str
    params: tuple[Param, ...]
    call: Callable[..., Any]
    callback: bool = False
    reach: Reach | None = None

    @property
    def description(self) -> str:
        """What it does, for people."""
        return self.call.__doc__ or ""


def render_function(
    *names: str, group: str, params: Sequence[Param] = (), callback: bool = False, reach: Reach | None = None
) -> Callable[[Callable[..., Any]], Function]:
    """Make a Function of a plain one: the decorator of every function here."""

    def made(call: Callable[..., Any]) -> Function:
        return Function(names, group, tuple(params), call, callback, reach)

    return made


SERIES = Param("seriesList", "seriesList", required=True)
SERIES_LISTS = Param("seriesLists", "seriesList", required=True, multiple=True)
AGG_FUNC = "aggFunc"


def bind(name: str, function: Function, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
    """Return the arguments of a call in order, checked and converted; ArgumentError for what does not fit."""
    params = function.params
    many = bool(params) and params[-1].multiple
    if len(arguments) > len(params) and not many:
        raise ArgumentError(f'Too many parameters specified for function "{name}"')
    bound = [
        _converted(name, params[min(position, len(params) - 1)], value) for position, value in enumerate(arguments)
    ]
    unknown = set(keywords) - {param.keyword or param.name for param in params if not param.multiple}
    if unknown:
        raise ArgumentError(f"Unexpected key word arguments: {', '.join(sorted(unknown))}")
    for position, param in enumerate(params):
        if param.multiple:
            continue
        key = param.keyword or param.name
        if position < len(arguments):
            if key in keywords:
                raise ArgumentError(f'Parameter "{param.name}" given twice to function "{name}"')
        elif key in keywords:
            bound.append(_converted(name, param, keywords[key]))
        elif param.required and param.otherwise is not None:
            bound.append(param.otherwise)
        elif param.required:
            raise ArgumentError(f'Missing required parameter "{param.name}" for function "{name}"')
        else:
            bound.append(param.default)
    return bound


def _converted(function: str, param: Param, value: Any) -> Any:
    kind = param.takes or param.type
    if value is None and not param.required and not param.multiple and param.default is None:
        return None
    try:
        return _CONVERSIONS.get(kind, _anything)(value)
    except (ValueError, TypeError, OverflowError, TimeSpecError):
        shown = "a list of series" if isinstance(value, list) else repr(value)
        raise ArgumentError(
            f'Invalid "{param.type}" value specified for function "{function}" parameter "{param.name}": {shown}'
        ) from None


def _anything(value: Any) -> Any:
    return value


def _series_list(value: Any) -> Any:
    if not isinstance(value, list) or (value and isinstance(value[0], list)):
        raise TypeError
    return value


def _series_lists(value: Any) -> Any:
    if not isinstance(value, list):
        raise TypeError
    return value


def _float(value: Any) -> float:
    if value is None or isinstance(value, list):
        raise TypeError
    found = float(value)
    if math.isnan(found):
        raise ValueError
    return found


def _number(value: Any) -> float:
    if isinstance(value, str):
        return float(value) if "." in value else int(value)
    if not isinstance(value, int | float):
        raise TypeError
    return int(value) if isinstance(value, bool) else value


def _truncated(value: Any) -> int:
    return int(value) if isinstance(value, float) else _integer(value)


def _integer(value: Any) -> int:
    if not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _integer_or_infinity(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, str) and value.lower() == "inf":
        return math.inf
    return _integer(value)


def _boolean(value: Any) -> bool:
    if value is None or isinstance(value, int | float):
        return bool(value)
    text = str(value).lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError


def _interval(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    parse_offset(value)
    return value


def _integer_or_interval(value: Any) -> float | str:
    if isinstance(value, str):
        return _interval(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        raise TypeError
    return str(value)


def _node(value: Any) -> Any:
    if not isinstance(value, int | str) and not (isinstance(value, float) and value % 1):
        raise TypeError
    return value


def _position(value: Any) -> Any:
    """A position that is no number is one that no name has."""
    if isinstance(value, list):
        raise TypeError
    try:
        return value if isinstance(value, float) else int(value)
    except (ValueError, TypeError):
        return value


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "seriesList": _series_list,
    "seriesLists": _series_lists,
    "float": _float,
    "number": _number,
    "integer": _integer,
    "truncated": _truncated,
    "node": _integer,
    "position": _position,
    "intOrInf": _integer_or_infinity,
    "boolean": _boolean,
    "interval": _interval,
    "intOrInterval": _integer_or_interval,
    "string": _text,
    "aggFunc": _text,
    "aggOrSeriesFunc": _text,
    "date": _text,
    "tag": _text,
    "nodeOrTag": _node,
}
