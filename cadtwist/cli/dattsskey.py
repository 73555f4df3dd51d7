"""`cadtwist dattss-key USER...`: the keys with which DaTtSs' clients of these users put."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from cadtwist.codec.dattss import DattssKeys
from cadtwist.config.load import load
from cadtwist.errors import ConfigError

__all__ = ["run"]

_USER = re.compile(r"[A-Za-z0-9@_\-]{1,128}")


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Print a key for each user; 2 for a configuration or a name that cannot be used."""
    asked = _parser().parse_args(list(argv))
    try:
        dattss = load(asked.config, environ=environ).config.dattss
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    if dattss is None:
        print(f"cadtwist dattss-key: {asked.config} has no [dattss]", file=sys.stderr)
        return 2
    wrong = [user for user in asked.user if not _USER.fullmatch(user) or (asked.first and "_" in user)]
    if wrong:
        print(f"cadtwist dattss-key: {wrong[0]!r} cannot be a user's name", file=sys.stderr)
        return 2
    keys = DattssKeys(dattss.secret, dattss.first_secret)
    for user in asked.user:
        print(keys.first_key(user) if asked.first else keys.key(user), file=stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cadtwist dattss-key", description="print the keys with which clients of DaTtSs put for these users"
    )
    parser.add_argument("-c", "--config", required=True, help="the server's configuration, which has the secret")
    parser.add_argument("--first", action="store_true", help="keys of the first generation, ID_SIGNATURE")
    parser.add_argument("user", nargs="+", help="letters, digits, @, _ and -")
    return parser
