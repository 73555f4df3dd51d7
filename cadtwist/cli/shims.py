"""The command `cadtwist shims`: tells the folder that makes `cadent` a name of our finder, for a PYTHONPATH."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from cadtwist import shims

__all__ = ["run"]


def run(argv: Sequence[str], stdout: TextIO, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Print the folder; return the exit status."""
    text = "Print the folder with modules of other names (cadent): PYTHONPATH=$(cadtwist shims) lets them be found."
    argparse.ArgumentParser(prog="cadtwist shims", description=text).parse_args(argv)
    print(os.path.dirname(os.path.abspath(shims.__file__)), file=stdout)
    return 0
