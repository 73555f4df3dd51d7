"""The command `cadtwist`: a table of tools, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO, cast

from cadtwist import __version__

__all__ = ["COMMANDS", "Run", "main", "run"]

Run = Callable[[Sequence[str], TextIO, Mapping[str, str]], int]
"""A tool: (arguments without its own name, where to print, environment) -> exit status."""

COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("cadtwist.cli.storecheck", "validate a configuration; --print shows it as native TOML"),
    "explain": ("cadtwist.cli.explain", "what happens to a metric: stages, schema, file, owner"),
    "dump": ("cadtwist.cli.dump", "print everything that a file of the store holds"),
    "fetch": ("cadtwist.cli.fetch", "print a metric's values over a time range, from files or over HTTP"),
    "statfile": ("cadtwist.cli.statfile", "show, fill, merge, check and mend istatd's StatFiles"),
    "shards": ("cadtwist.cli.shards", "propose a map of virtual shards, or how to move shards off loaded backends"),
    "shims": ("cadtwist.cli.shims", "print the folder that lets graphite-web find our finder as cadent.CadentFinder"),
    "dattss-key": ("cadtwist.cli.dattsskey", "print the keys with which DaTtSs' clients of some users put"),
    "blast": ("cadtwist.cli.blast", "generate load: graphite, statsd or pickle over TCP, UDP, unix or HTTP"),
    "sink": ("cadtwist.cli.sink", "listen, and print or count every line that arrives"),
}
"""Each command: the module that has its `run`, and one line of help."""


def main() -> int:
    """Entry point of the console script."""
    try:
        return run(sys.argv[1:], sys.stdout, os.environ)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `cadtwist dump FILE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(argv: Sequence[str], stdout: TextIO, environ: Mapping[str, str]) -> int:
    """Dispatch to the command that `argv` begins with; 2 when there is no such command."""
    first = argv[0] if argv else "--help"
    if first in ("--version", "-V", "version"):
        print(_version(), file=stdout)
        return 0
    if first in ("--help", "-h", "help"):
        print(_usage(), file=stdout)
        return 0
    if first not in COMMANDS:
        print(f"cadtwist: no command {first!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    tool = cast("Run", importlib.import_module(COMMANDS[first][0]).run)
    return tool(argv[1:], stdout, environ)


def _version() -> str:
    active = importlib.import_module("cadtwist.kernels.active")
    kernels = "native" if active.NATIVE else "python"
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"cadtwist {__version__} (kernels: {kernels}; Python {python})"


def _usage() -> str:
    lines = ["usage: cadtwist COMMAND ...   (COMMAND --help tells its options)", "       cadtwist --version", ""]
    lines += [f"  {name:8} {text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "The daemons are rows of twistd: twistd --help"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
