"""`cadent.CadentFinder`, for configurations that name it: with this folder on the path, `cadent` is this module."""

from __future__ import annotations

from cadtwist.finder import CadentFinder

__all__ = ["CadentFinder"]
