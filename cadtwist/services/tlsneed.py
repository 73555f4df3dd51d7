"""Whether a process needs TLS: pyOpenSSL and what it loads take 12 MiB of each process, so most go without.

Twisted runs where pyOpenSSL cannot be imported; whether it can is asked once, when the first socket module comes in.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping

import msgspec

from cadtwist.config.model import Config

__all__ = ["command_without_tls", "leave_tls_out", "names_tls", "tls_is_left_out"]

_LIBRARY = "OpenSSL"
_DECIDED = "twisted.internet.tcp"
_SCHEMES = ("https:", "ssl:", "tls:", "redis:")
"""What needs TLS to be there; the client of Redis cannot be imported without, even where it does not use it."""


def names_tls(config: Config) -> bool:
    """Tell whether anything in `config` speaks of TLS: an option of that name, a URL, an endpoint text."""
    return _speaks_of_tls(msgspec.to_builtins(config, enc_hook=_nothing))


def _nothing(_: object) -> None:
    """Stand for what is no plain value: patterns, which are about names of metrics."""


def _speaks_of_tls(part: object) -> bool:
    if isinstance(part, str):
        return any(scheme in part for scheme in _SCHEMES)
    if isinstance(part, Mapping):
        return any(
            (bool(value) and "tls" in str(key)) or _speaks_of_tls(key) or _speaks_of_tls(value)
            for key, value in part.items()
        )
    return isinstance(part, list | tuple) and any(map(_speaks_of_tls, part))


def leave_tls_out() -> bool:
    """Make pyOpenSSL unimportable in this process; False when it, or Twisted's sockets, are loaded already."""
    if _DECIDED not in sys.modules and sys.modules.get(_LIBRARY) is None:
        sys.modules[_LIBRARY] = None  # type: ignore[assignment]  # the import system's word for "there is none"
    return tls_is_left_out()


def tls_is_left_out() -> bool:
    """Tell whether this process runs without TLS."""
    return sys.modules.get(_LIBRARY, sys) is None


def command_without_tls(module: str) -> list[str]:
    """Return the command that runs `module` (its arguments follow), without TLS where this process has none."""
    return [sys.executable, "-m", *([__name__] if tls_is_left_out() else []), module]


if __name__ == "__main__":
    del sys.argv[0]
    leave_tls_out()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
