"""All render functions by name, and the account that `/functions` gives of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

from cadtwist.query.functions import (
    alias,
    calculate,
    choosing,
    combine,
    derive,
    graph,
    grouping,
    holtwinters,
    moving,
    percent,
    pie,
    shifting,
    special,
    summarize,
    transform,
)
from cadtwist.query.functions.spec import Function, Param
from cadtwist.query.reducing import AGGREGATIONS

__all__ = ["GROUPS", "account_of", "pie_functions", "render_functions"]

GROUPS = (
    "Combine", "Transform", "Calculate", "Filter Series", "Filter Data", "Sorting", "Alias", "Graph", "Special", "Pie",
)  # fmt: skip
"""The groups in the order in which they are shown."""

_MODULES: tuple[ModuleType, ...] = (
    combine, percent, grouping, transform, derive, summarize, shifting, moving, holtwinters, calculate, choosing, alias,
    graph, special,
)  # fmt: skip


def render_functions() -> dict[str, Function]:
    """Return every render function by each of its names."""
    return _by_name(_MODULES)


def pie_functions() -> dict[str, Function]:
    """Return the functions that make one number of a series, for pie charts."""
    return _by_name((pie,))


def _by_name(modules: Iterable[ModuleType]) -> dict[str, Function]:
    found: dict[str, Function] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Function) and value.call.__module__ == module.__name__:
                found.update((name, value) for name in value.names)
    return found


def account_of(name: str, function: Function, functions: Mapping[str, Function]) -> dict[str, object]:
    """Return what is published of a function: its signature, description, group and parameters."""
    return {
        "name": name,
        "function": f"{name}({', '.join(map(_signature, function.params))})",
        "description": function.description,
        "module": function.call.__module__,
        "group": function.group,
        "params": [_param_account(param, functions) for param in function.params],
    }


def _signature(param: Param) -> str:
    name = param.keyword or param.name
    if param.multiple:
        return f"*{name}"
    return name if param.required else f"{name}={param.default!r}"


def _param_account(param: Param, functions: Mapping[str, Function]) -> dict[str, object]:
    account: dict[str, object] = {"name": param.name, "type": param.type}
    if param.required:
        account["required"] = True
    default = param.default if param.shown is None else param.shown
    if default is not None:
        account["default"] = default
    if param.multiple:
        account["multiple"] = True
    options = param.options or _options_of(param.type, functions)
    if options:
        account["options"] = list(options)
    if param.suggestions:
        account["suggestions"] = list(param.suggestions)
    return account


def _options_of(kind: str, functions: Mapping[str, Function]) -> Sequence[object]:
    if kind == "aggFunc":
        return sorted(AGGREGATIONS)
    if kind == "aggOrSeriesFunc":
        return sorted({*AGGREGATIONS, *(name for name, function in functions.items() if function.callback)})
    return []


