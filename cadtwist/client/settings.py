"""How a client reaches its server: from the environment, the command line, or the program itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cadtwist.model.partial import DEFAULT_PERCENTILE

__all__ = ["ClientSettings", "client_settings"]

_NAMES = {
    "DATTSS_PUSH_PERIOD": "push_period_s",
    "DATTSS_PERCENTILE": "percentile",
    "DATTSS_AUTH_KEY": "auth",
    "DATTSS_SERVER_HTTP_HOST": "http_host",
    "DATTSS_SERVER_HTTP_PORT": "http_port",
    "DATTSS_SERVER_UDP_HOST": "udp_host",
    "DATTSS_SERVER_UDP_PORT": "udp_port",
    "DATTSS_DEBUG": "debug",
}
_FALSE = ("", "0", "false", "no", "off")
_PORT_MAX = 65535


class ClientSettings(Struct, frozen=True, kw_only=True):
    """What a client needs to know.

    `process` is the name under which it shows itself and may be ended, empty = neither.  `timeout_s` is its patience
    with one request.  `most_paths` bounds what it holds, be the server away or not.
    """

    auth: str = "dummy-env"
    http_host: str = "v2.dattss.com"
    http_port: int = 80
    udp_host: str = "udp.dattss.com"
    udp_port: int = 8125
    push_period_s: float = 5.0
    percentile: float = DEFAULT_PERCENTILE
    debug: bool = False
    process: str = ""
    timeout_s: float = 5.0
    most_paths: int = 10_000


def client_settings(environ: Mapping[str, str], argv: Sequence[str] = (), **given: Any) -> ClientSettings:
    """Return the settings: what is `given` wins over `--NAME=value` in `argv`, that over the environment.

    The names are `DATTSS_AUTH_KEY` and so on.  ValueError for one that is no number where it must be.
    """
    named = {name: environ[name] for name in _NAMES if name in environ}
    for word in argv:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and name in _NAMES:
            named[name] = value
    values = {_NAMES[name]: _value(name, text) for name, text in named.items()}
    settings = replace(ClientSettings(), **{**values, **given})
    if not (0 < settings.push_period_s < math.inf and 0 <= settings.percentile <= 1):
        raise ValueError("DATTSS_PUSH_PERIOD must be above 0, and DATTSS_PERCENTILE 0 to 1")
    if not (0 < settings.http_port <= _PORT_MAX and 0 < settings.udp_port <= _PORT_MAX):
        raise ValueError("a port is 1 to 65535")
    return settings


def _value(name: str, text: str) -> Any:
    default = getattr(ClientSettings(), _NAMES[name])
    try:
        if isinstance(default, bool):
            return text.strip().lower() not in _FALSE
        return type(default)(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no number") from None
