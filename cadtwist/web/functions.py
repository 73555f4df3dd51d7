"""`/functions`: what render functions there are, for whoever helps to write targets."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cadtwist.query.functions.registry import GROUPS, account_of, pie_functions
from cadtwist.query.functions.spec import Function
from cadtwist.web.answers import Answer
from cadtwist.web.context import WebContext
from cadtwist.web.errors import HTML
from cadtwist.web.params import Params

__all__ = ["function_list", "one_function"]

_ENDLESS = "1e9999"


async def function_list(context: WebContext, params: Params) -> Answer:
    """`/functions`: all functions by name, or by group and name for `grouped`."""
    if params.method not in ("GET", "HEAD"):
        return Answer(b"", HTML, 405)
    functions = _registry(context, params)
    wanted = params.last("group")
    found = {
        name: account_of(name, function, functions)
        for name, function in functions.items()
        if "group" not in params or function.group == wanted
    }
    if params.last("grouped").lower() not in ("1", "true"):
        return _json(params, found)
    groups: dict[str, dict[str, object]] = {group: {} for group in GROUPS}
    for name, account in found.items():
        groups.setdefault(str(account["group"]), {})[name] = account
    return _json(params, {group: accounts for group, accounts in groups.items() if accounts})


async def one_function(context: WebContext, params: Params) -> Answer:
    """`/functions/NAME`: one function."""
    if params.method not in ("GET", "HEAD"):
        return Answer(b"", HTML, 405)
    functions = _registry(context, params)
    function = functions.get(params.tail)
    if function is None:
        return _json(params, {"error": f"Function not found: {params.tail}"}, 404)
    return _json(params, account_of(params.tail, function, functions))


def _registry(context: WebContext, params: Params) -> Mapping[str, Function]:
    return pie_functions() if params.last("type") == "pie" else context.functions


def _json(params: Params, value: object, status: int = 200) -> Answer:
    pretty = bool(params.last("pretty"))
    text = json.dumps(value, indent=2 if pretty else None, sort_keys=pretty)
    return Answer(text.replace(": Infinity", f": {_ENDLESS}").encode("ascii"), "application/json", status)
