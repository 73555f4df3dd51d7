"""The doors that graphite-api has beside those of graphite-web."""

from __future__ import annotations

from cadtwist.web.answers import Answer, plain_json
from cadtwist.web.context import WebContext, all_names, answered
from cadtwist.web.errors import HTML
from cadtwist.web.params import Params

__all__ = ["dashboard", "dashboard_list", "renewed_index"]

_MOST_NAME = 1000


async def renewed_index(context: WebContext, params: Params) -> Answer:
    """`/index`: the files are looked through again soon; tells how many metrics are known."""
    if params.method not in ("GET", "HEAD", "POST", "PUT"):
        return Answer(b"", HTML, 405)
    await answered(context.owner.report("rescan"))
    count = 0
    async for names in all_names(context):
        count += len(names)
    return plain_json({"success": True, "entries": count})


async def dashboard_list(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/dashboard/find`: dashboards are not kept here."""
    return plain_json({"dashboards": []})


async def dashboard(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/dashboard/load/NAME`: there is none of that name."""
    return plain_json({"error": f"Dashboard '{params.tail[:_MOST_NAME]}' does not exist."}, 404)
