"""The command `statsd-proxy`: `statsd-proxy [proxyConfig.js]`, in front of twistd and in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import TextIO

from cadtwist.cli.foreground import RunTwistd, absolute, in_foreground, run_twistd
from cadtwist.config.load import examine

__all__ = ["main", "run"]

EXIT_FAULTY = 1


def main() -> int:
    """Entry point of the console script."""
    return run(sys.argv[1:], sys.stderr, os.environ, run_twistd)


def run(argv: Sequence[str], stderr: TextIO, environ: MutableMapping[str, str], run_twistd: RunTwistd) -> int:
    """Start the proxy with the file that `argv` (without the script's path) names; return the exit status."""
    parser = argparse.ArgumentParser(prog="statsd-proxy", description="Spread statsd lines over a ring of nodes.")
    parser.add_argument("file", nargs="?", help="the configuration (default: proxyConfig.js)")
    parser.add_argument("--config", metavar="FILE", help="the same")
    parser.add_argument("--debug", action="store_true", help="log debug messages")
    asked = parser.parse_args(list(argv))
    config = asked.config or asked.file or "proxyConfig.js"
    problems = examine(config, dialect="statsd-proxy").problems.texts("error")
    if problems:
        print("\n".join(problems), file=stderr)
        return EXIT_FAULTY
    row = ["statsd-proxy", f"--config={absolute(config)}"]
    in_foreground(row, environ, run_twistd, level="debug" if asked.debug else "info", stderr="all")
    return 0
