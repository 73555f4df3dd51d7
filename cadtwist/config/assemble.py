"""From `{"writer.threads": 2, ...}` to a Config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from cadtwist.config.model import Config

__all__ = ["assembled", "value_at"]


def assembled(base: Config, values: Mapping[str, Any]) -> Config:
    """Return `base` with the values at these paths, one or two parts each; KeyError for a group that is None."""
    groups: dict[str, dict[str, Any]] = {}
    direct: dict[str, Any] = {}
    for path, value in values.items():
        group, _, name = path.partition(".")
        if name:
            groups.setdefault(group, {})[name] = value
        else:
            direct[group] = value
    for group, named in groups.items():
        inner = direct.get(group, getattr(base, group))
        if inner is None:
            raise KeyError(group)
        direct[group] = replace(inner, **named)
    return replace(base, **direct)


def value_at(config: Config, path: str) -> Any:
    """Return the value at a path of one or two parts; None where its group is None."""
    group, _, name = path.partition(".")
    inner = getattr(config, group)
    return getattr(inner, name) if name and inner is not None else inner
