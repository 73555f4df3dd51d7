"""Hypothesis strategies of whole configurations, built from the model's types and the table's ranges."""

from __future__ import annotations

import re
from math import inf
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from cadtwist.config.model import AggregationRule, Config, Listener, SchemaRule, TlsConfig, WalConfig
from cadtwist.config.options import option
from cadtwist.model.consolidation import METHODS
from cadtwist.model.retention import checked_archives

__all__ = ["configs"]

_WORDS = st.text(max_size=8)
_PATTERNS = st.one_of(
    st.sampled_from(["", r"^carbon\.", r"\.(a|b)$", "it's \\d\"+"]), st.text(max_size=6).map(re.escape)
)
_ARCHIVES = st.sampled_from([[(60, 1440)], [(10, 360), (60, 10080)], [(1, 21600), (60, 43200), (3600, 43800)]])
_SCHEMAS = st.builds(
    SchemaRule,
    name=_WORDS,
    pattern=_PATTERNS.map(re.compile),
    archives=_ARCHIVES.map(checked_archives),
    priority=st.integers(-5, 5),
)
_AGGREGATIONS = st.builds(
    AggregationRule,
    name=_WORDS,
    pattern=_PATTERNS.map(re.compile),
    xff=st.one_of(st.none(), st.floats(0, 1)),
    method=st.one_of(st.none(), st.sampled_from(METHODS)),
)
_TLS = st.builds(TlsConfig, certificate=_WORDS, key=_WORDS, client_authority=_WORDS)
_PROTOCOLS = st.sampled_from(["line", "pickle", "protobuf", "cachequery", "http"])
_LISTENERS = st.one_of(
    st.builds(
        Listener,
        protocol=_PROTOCOLS,
        interface=_WORDS,
        port=st.integers(1, 65535),
        tls=st.one_of(st.none(), _TLS),
        proxy_protocol=st.booleans(),
    ),
    st.builds(
        Listener, protocol=st.just("line"), transport=st.just("udp"), interface=_WORDS, port=st.integers(1, 65535)
    ),
    st.builds(Listener, protocol=_PROTOCOLS, transport=st.just("unix"), path=st.text(min_size=1, max_size=9)),
    st.builds(Listener, protocol=_PROTOCOLS, transport=st.just("endpoint"), endpoint=st.text(min_size=1, max_size=9)),
)
_WAL = st.builds(
    WalConfig,
    enabled=st.booleans(),
    directory=_WORDS,
    sync_s=st.floats(0, 3600),
    segment_bytes=st.integers(1 << 16, 1 << 31),
    max_bytes=st.integers(1 << 32, 1 << 50),
)


def _of(hint: Any, path: str) -> st.SearchStrategy[Any]:
    if hint == tuple[SchemaRule, ...]:
        return st.lists(_SCHEMAS, max_size=2).map(tuple)
    if hint == tuple[AggregationRule, ...]:
        return st.lists(_AGGREGATIONS, max_size=2).map(tuple)
    if hint == tuple[Listener, ...]:
        return st.lists(_LISTENERS, max_size=3, unique_by=lambda listener: listener.address).map(tuple)
    if hint is WalConfig:
        return _WAL
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*(st.none() if part is type(None) else _of(part, path) for part in get_args(hint)))
    if path == "tags.url":
        return _WORDS.map("http://{}".format)
    if path.startswith("stages.") and get_origin(hint) is tuple:
        return st.lists(_PATTERNS, max_size=3).map(tuple)
    if get_origin(hint) is tuple:
        return st.lists(_WORDS, max_size=3).map(tuple)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _struct(hint, f"{path}.")
    return _plain(hint, path)


def _plain(hint: Any, path: str) -> st.SearchStrategy[Any]:
    if hint is bool:
        return st.booleans()
    if hint is str:
        return _WORDS
    row = option(path)
    if hint is int:
        return st.integers(int(row.low), int(row.high) if row.high != inf else 1 << 60)
    return st.floats(row.low, row.high)


def _struct(kind: type[Struct], prefix: str) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: _of(hints[field.name], f"{prefix}{field.name}") for field in fields(kind)})


def configs() -> st.SearchStrategy[Config]:
    """Any usable Config."""
    return _struct(Config, "")
