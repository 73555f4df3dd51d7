"""Tagged metric names: the forms that carbon accepts and the one under which it stores.

Accepted are `name;tag=value;...` and OpenMetrics' `name{tag="value",...}`.  The canonical form is the name and then
`;tag=value` for each tag, sorted as whole strings by code point.
"""

from __future__ import annotations

__all__ = ["canonical", "is_tagged", "parse_name"]

_FORBIDDEN_IN_TAG = ";!^="


def is_tagged(name: str) -> bool:
    """Return whether a canonical name carries tags."""
    return ";" in name


def canonical(text: str) -> str:
    """Return the name under which `text` is stored; ValueError tells why it cannot be read."""
    if ";" not in text and "{" not in text and text and not text.startswith("~"):
        return text
    tags = parse_name(text)
    return tags.pop("name") + "".join(sorted(f";{tag}={value}" for tag, value in tags.items()))


def parse_name(text: str) -> dict[str, str]:
    """Return the tags of a metric, the metric's own name under `name`; ValueError tells what is wrong."""
    if text.endswith('"}') and "{" in text:
        name, tags = _openmetrics(text)
    else:
        name, tags = _segments(text)
    tags["name"] = name.lstrip("~")
    if not tags["name"]:
        raise ValueError(f"Cannot use metric name {name} as tag value, results in an empty string")
    return tags


def _segments(text: str) -> tuple[str, dict[str, str]]:
    name, *segments = text.split(";")
    if not name:
        raise ValueError(f"Cannot parse path {text}, no metric found")
    tags = {}
    for segment in segments:
        tag, equals, value = segment.partition("=")
        if not tag or not equals:
            raise ValueError(f"Cannot parse path {text}, invalid segment {segment}")
        _check(tag, value)
        tags[tag] = value
    return name, tags


def _openmetrics(text: str) -> tuple[str, dict[str, str]]:
    name, _, rest = text[:-1].partition("{")
    if not name:
        raise ValueError(f"Cannot parse path {text}, no metric found")
    tags, position = {}, 0
    while position < len(rest):
        tag, value, after = _item(rest, position)
        if after < 0:
            raise ValueError(f"Cannot parse path {text}, invalid segment {rest[position:]}")
        _check(tag, value)
        tags[tag] = value
        position = after
    return name, tags


def _item(rest: str, start: int) -> tuple[str, str, int]:
    """Read `tag="value"` and its comma at `start`; return tag, value and the next position, -1 if it is malformed.

    As in carbon a colon may stand before the comma.
    """
    equals = rest.find("=", start)
    if equals <= start or rest[equals + 1 : equals + 2] != '"':
        return "", "", -1
    value, position = [], equals + 2
    while position < len(rest) and rest[position] != '"':
        if rest[position] == "\\":
            position += 1
            if rest[position : position + 1] not in ("\\", '"'):
                return "", "", -1
        value.append(rest[position])
        position += 1
    ended = position + 2 if rest.startswith(":,", position + 1) else position + 1
    if position >= len(rest) or not value or rest[ended : ended + 1] not in ("", ","):
        return "", "", -1
    return rest[start:equals], "".join(value), min(ended + 1, len(rest))


def _check(tag: str, value: str) -> None:
    if not value:
        raise ValueError(f'Value for tag "{tag}" may not be empty')
    for character in _FORBIDDEN_IN_TAG:
        if character in tag:
            raise ValueError(f'Character "{character}" is not allowed in tag "{tag}"')
    if ";" in value:
        raise ValueError(f'Character ";" is not allowed in value "{value}" of tag {tag}')
    if value.startswith("~"):
        raise ValueError(f'Tag values are not allowed to start with "~" in tag "{tag}"')
