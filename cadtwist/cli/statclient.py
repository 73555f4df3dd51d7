"""The tools of `cadtwist statfile` that talk to a running daemon: its admin port, and load for its line port."""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
from typing import Any, NamedTuple, TextIO

__all__ = ["Asked", "add_tools"]

TIMEOUT_S = 600
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Asked(NamedTuple):
    """What a tool gets: its arguments, where to read and print, and the time (epoch seconds)."""

    arguments: Any
    stdin: TextIO
    stdout: TextIO
    now: float


def add_tools(tools: Any) -> None:
    """Add the tools to a parser's subcommands."""
    for name, work, text in (
        ("flush", _flush, "let a daemon write everything, and wait"),
        ("purge", _purge, "let a daemon forget connections that ended"),
        ("stat", _stat, "print a daemon's `stats`"),
        ("loadtest", _loadtest, "send random samples to a daemon"),
    ):
        made: argparse.ArgumentParser = tools.add_parser(name, help=text, description=text)
        made.set_defaults(tool=work)
        if name == "loadtest":
            made.add_argument("--host", default="localhost:8111", metavar="HOST:PORT")
            for option, default in (("num", 1000), ("interval", 10), ("counters", 10), ("seed", 1)):
                made.add_argument(f"--{option}", type=int, default=default)
        else:
            made.add_argument("-v", "--verbose", action="store_true")
            made.add_argument("-q", "--quiet", action="store_true")
            made.add_argument("host")
            made.add_argument("port", type=int)
        if name == "purge":
            made.add_argument("most", nargs="?")
            made.add_argument("age", nargs="?")


def _flush(asked: Asked) -> int:
    begun = time.monotonic()
    _lines, refused = _command(asked, "flush")
    if refused:
        print(refused, file=sys.stderr)
        return 3
    if not asked.arguments.quiet:
        asked.stdout.write(f"flush took {int(time.monotonic() - begun)} seconds\n")
    return 0


def _purge(asked: Asked) -> int:
    given = [part for part in (asked.arguments.most, asked.arguments.age) if part is not None]
    _lines, refused = _command(asked, " ".join(["purge", ",".join(given)]).strip())
    if refused:
        print(refused, file=sys.stderr)
        return 3
    return 0


def _stat(asked: Asked) -> int:
    lines, refused = _command(asked, "stats")
    asked.stdout.writelines(f"{line}\n" for line in lines)
    if refused:
        print(refused, file=sys.stderr)
        return 3
    return 0


def _command(asked: Asked, command: str) -> tuple[list[str], str]:
    """Return the lines of an answer before its `ok`, and the line that refuses (empty: none)."""
    lines: list[str] = []
    a = asked.arguments
    with socket.create_connection((a.host, a.port), TIMEOUT_S) as connection:
        connection.sendall(command.encode() + b"\r\n")
        with connection.makefile("r", encoding="utf-8", errors="replace", newline="\n") as answer:
            for raw in answer:
                line = raw.rstrip("\r\n")
                if a.verbose:
                    asked.stdout.write(f"{line}\n")
                if line == "ok":
                    return lines, ""
                if line.startswith("huh?"):
                    return lines, line
                lines.append(line)
    return lines, "the daemon closed the connection"


def _loadtest(asked: Asked) -> int:
    """Send `num` rounds of one sample for each counter, `interval` milliseconds apart."""
    a = asked.arguments
    host, _, port = a.host.rpartition(":")
    chance = random.Random(a.seed)
    names = [".".join(_DIGITS[int(digit)] for digit in str(number)) for number in range(a.counters)]
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        for _ in range(a.num):
            text = "".join(f"{name} {chance.random() * 100:.6g}\n" for name in names)
            connection.sendall(text.encode())
            time.sleep(a.interval / 1000)
    asked.stdout.write(f"{a.num * a.counters} samples sent\n")
    return 0
