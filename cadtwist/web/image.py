"""Graphs as images: png, svg and pdf, drawn by matplotlib where that is installed (the extra `graph`).

The look follows graphite-web's defaults: a black ground, coloured lines, a legend below.  Options are those of
`/render`; what cannot be drawn is left out.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np

from cadtwist.query.functions.registry import pie_functions
from cadtwist.query.timeseries import TimeSeries
from cadtwist.web.errors import RefusedError, invalid
from cadtwist.web.params import Params

__all__ = ["IMAGES", "GraphOptions", "drawn", "graph_options", "slices_of", "wrapped"]

IMAGES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/x-pdf"}
"""The formats that are drawn, and their content types."""

_DPI = 100
_LEAST_PIXELS, _MOST_PIXELS = 16, 4000
_LEGEND_AT_MOST = 10
_COLORS = ("blue", "green", "red", "purple", "brown", "yellow", "aqua", "grey", "magenta", "pink", "gold", "#ff007f")
_NAMED = {"rose": "#ff007f", "darkred": "#8b0000", "darkblue": "#00008b"}
_STYLES = {"staircase": "steps-post", "slope": "default", "connected": "default"}
_MOST_SERIES = 500
_MOST_TEXT = 500
_MOST_LOG_BASE = 1000.0
_SLICE = re.compile(r"(.+):(\d+(?:\.\d+)?)\Z", re.ASCII)


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is to look; sizes in pixels, None where the data decide."""

    width: int = 330
    height: int = 250
    background: str = "black"
    foreground: str = "white"
    colors: tuple[str, ...] = _COLORS
    title: str = ""
    y_title: str = ""
    y_min: float | None = None
    y_max: float | None = None
    log_base: float = 0.0
    line_width: float = 1.2
    line_mode: str = "slope"
    area_mode: str = "none"
    area_alpha: float = 1.0
    font_size: float = 8.0
    hide_legend: bool | None = None
    hide_axes: bool = False
    hide_grid: bool = False
    graph_only: bool = False
    null_is_zero: bool = False
    pie_mode: str = "average"


def graph_options(params: Params) -> GraphOptions:
    """Read what a request says of the look; refuses sizes and modes that are none."""
    plain = GraphOptions()
    line_mode = params.last("lineMode") or plain.line_mode
    area_mode = params.last("areaMode") or plain.area_mode
    if line_mode not in _STYLES:
        raise invalid(f"Invalid lineMode '{line_mode}'")
    if area_mode not in ("none", "first", "all", "stacked"):
        raise invalid(f"Invalid areaMode '{area_mode}'")
    hidden = params.last("hideLegend").lower()
    return GraphOptions(
        width=_pixels(params, "width", plain.width),
        height=_pixels(params, "height", plain.height),
        background=params.last("bgcolor") or plain.background,
        foreground=params.last("fgcolor") or plain.foreground,
        colors=tuple(filter(None, params.last("colorList").split(","))) or _COLORS,
        title=params.last("title")[:_MOST_TEXT],
        y_title=params.last("vtitle")[:_MOST_TEXT],
        y_min=_number(params, "yMin", _number(params, "min", None)),
        y_max=_number(params, "yMax", _number(params, "max", None)),
        log_base=min(_number(params, "logBase", 0.0) or 0.0, _MOST_LOG_BASE),
        line_width=_number(params, "lineWidth", plain.line_width) or plain.line_width,
        line_mode=line_mode,
        area_mode=area_mode,
        area_alpha=min(max(_number(params, "areaAlpha", 1.0) or 1.0, 0.0), 1.0),
        font_size=min(max(_number(params, "fontSize", 8.0) or 8.0, 1.0), 100.0),
        hide_legend=None if hidden in ("", "default") else hidden in ("true", "1"),
        hide_axes=_flag(params, "hideAxes"),
        hide_grid=_flag(params, "hideGrid"),
        graph_only=_flag(params, "graphOnly"),
        null_is_zero=_flag(params, "drawNullAsZero"),
        pie_mode=params.last("pieMode") or plain.pie_mode,
    )


def _pixels(params: Params, key: str, default: int) -> int:
    size = _number(params, key, default)
    return min(max(int(default if size is None else size), _LEAST_PIXELS), _MOST_PIXELS)


def _number(params: Params, key: str, default: float | None) -> float | None:
    """As graphite-web does, take what is no number for none."""
    try:
        found = float(params.last(key))
    except ValueError:
        return default
    return found if np.isfinite(found) else default


def _flag(params: Params, key: str) -> bool:
    return params.last(key).lower() in ("true", "1")


def _color(name: object, fallback: str) -> str:
    from matplotlib.colors import is_color_like  # noqa: PLC0415 (an extra)

    text = str(name).strip()
    text = _NAMED.get(text, text)
    if is_color_like(text):
        return text
    return f"#{text}" if is_color_like(f"#{text}") else fallback


def _plain(text: str) -> str:
    """Return a text as it is to be shown: nothing in it is a formula."""
    shown = text.replace("\\", "\\\\").replace("$", "\\$") if "$" in text else text
    return f" {shown}" if shown.startswith("_") else shown


def drawn(form: str, found: Sequence[TimeSeries], options: GraphOptions, zone: tzinfo, pie: bool) -> bytes:
    """Return an image of series in one of IMAGES; RefusedError where nothing can draw."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)
    except ImportError:
        raise RefusedError(501, "Images are drawn by matplotlib: install cadtwist[graph]") from None
    figure = Figure(figsize=(options.width / _DPI, options.height / _DPI), dpi=_DPI, layout="constrained")
    figure.set_facecolor(_color(options.background, "black"))
    axes = figure.subplots()
    axes.set_facecolor(_color(options.background, "black"))
    shown = found[:_MOST_SERIES]
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not fit is drawn as well as it can be
        if pie:
            _draw_pie(axes, shown, options)
        else:
            _draw_lines(axes, shown, options, zone)
        try:
            figure.savefig(image, format=form, facecolor=figure.get_facecolor())
        except (ValueError, OverflowError) as error:
            raise invalid(f"Nothing can be drawn so: {error}") from None
    return image.getvalue()


def _draw_lines(axes: Any, found: Sequence[TimeSeries], options: GraphOptions, zone: tzinfo) -> None:
    second = axes.twinx() if any(series.options.get("secondYAxis") for series in found) else None
    below: dict[int, Any] = {}
    for place, series in enumerate(found):
        color = _color(series.options.get("color", ""), _color(options.colors[place % len(options.colors)], "white"))
        where = second if second is not None and series.options.get("secondYAxis") else axes
        _draw_one(where, place, series, color, options, below)
    _dress(axes, second, len(found), options, zone)


def _draw_one(
    axes: Any, place: int, series: TimeSeries, color: str, options: GraphOptions, below: dict[int, Any]
) -> None:
    times = np.array(series.start + series.step * np.arange(len(series)), "datetime64[s]")
    values = np.where(np.isnan(series.values), 0.0, series.values) if options.null_is_zero else series.values
    values = np.where(np.isinf(values), np.nan, values)
    if series.options.get("drawAsInfinite"):
        for moment in times[np.nan_to_num(values) > 0][:_MOST_PIXELS]:
            axes.axvline(moment, color=color, linewidth=options.line_width)
        axes.plot([], [], color=color, label=_plain(series.name))
        return
    if options.line_mode == "connected":
        times, values = times[~np.isnan(values)], values[~np.isnan(values)]
    base = None
    if options.area_mode == "stacked" and not series.options.get("stacked"):
        base = below.get(len(values), np.zeros(len(values)))
        values = base + np.nan_to_num(values)
        below[len(values)] = values
    filled = options.area_mode in ("all", "stacked") or (options.area_mode == "first" and place == 0)
    alpha = series.options.get("alpha")
    if filled or series.options.get("stacked"):
        axes.fill_between(times, values, 0.0 if base is None else base, color=color, linewidth=0,
                          alpha=options.area_alpha if alpha is None else alpha)  # fmt: skip
    if not series.options.get("invisible"):
        dashes = "dashed" if series.options.get("dashed") else "solid"
        width = series.options.get("lineWidth", options.line_width)
        axes.plot(times, values, color=color, linewidth=width, linestyle=dashes, label=_plain(series.name), alpha=alpha,
                  drawstyle=_STYLES[options.line_mode])  # fmt: skip


def _dress(axes: Any, second: Any, count: int, options: GraphOptions, zone: tzinfo) -> None:
    from matplotlib.dates import AutoDateFormatter, AutoDateLocator  # noqa: PLC0415 (an extra)

    color = _color(options.foreground, "white")
    locator = AutoDateLocator(tz=zone, maxticks=max(options.width // 80, 3))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(AutoDateFormatter(locator, tz=zone))
    if options.log_base > 1:
        axes.set_yscale("log", base=options.log_base, subs=[])
    for each in (axes, second) if second is not None else (axes,):
        each.tick_params(colors=color, labelsize=options.font_size)
        for spine in each.spines.values():
            spine.set_color(color)
    axes.set_ylim(options.y_min, options.y_max)
    if options.hide_axes or options.graph_only:
        axes.set_axis_off()
    if options.graph_only:
        return
    if not options.hide_grid:
        axes.grid(True, color="grey", linewidth=0.3)
    axes.set_title(_plain(options.title), color=color, fontsize=options.font_size + 2)
    axes.set_ylabel(_plain(options.y_title), color=color, fontsize=options.font_size)
    hidden = count > _LEGEND_AT_MOST if options.hide_legend is None else options.hide_legend
    if count and not hidden:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=options.font_size, labelcolor=color,
                    facecolor=axes.get_facecolor(), frameon=False)  # fmt: skip


def _draw_pie(axes: Any, found: Sequence[TimeSeries], options: GraphOptions) -> None:
    """A slice for each series, as large as what `pieMode` makes of its values."""
    function = pie_functions().get(options.pie_mode)
    if function is None:
        raise invalid(f"Invalid pieMode '{options.pie_mode}'")
    sizes = [(series.name, function.call(None, series)) for series in found]
    slices = [(name, size) for name, size in sizes if size is not None and size > 0 and np.isfinite(size)]
    color = _color(options.foreground, "white")
    if slices:
        colors = [_color(options.colors[place % len(options.colors)], "white") for place in range(len(slices))]
        axes.pie([size for _, size in slices], labels=[_plain(name) for name, _ in slices], colors=colors,
                 textprops={"color": color, "fontsize": options.font_size})  # fmt: skip
    else:
        axes.set_axis_off()
    axes.set_title(_plain(options.title), color=color, fontsize=options.font_size + 2)


def slices_of(targets: Sequence[str], start: int, end: int) -> list[TimeSeries] | None:
    """Return a series for each target `name:number`, as pie charts take them; None if one is another."""
    found = [_SLICE.match(target) for target in targets]
    if not found or not all(found):
        return None
    return [TimeSeries(one[1], start, end, 1, np.array([float(one[2])])) for one in found if one is not None]


def wrapped(image: bytes, callback: str) -> bytes:
    """Return an svg image as the argument of a callback."""
    return f"{callback}({json.dumps(image.decode('utf-8'))})".encode()
