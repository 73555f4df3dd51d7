"""Both twins of a kernel, for contract tests that must hold on each."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from cadtwist.kernels import active

__all__ = ["NATIVE_EXPECTED", "native_twin", "python_twin"]

NATIVE_EXPECTED = os.environ.get("CADTWIST_PURE") != "1"


def python_twin(kernel: str) -> ModuleType:
    """Return the readable twin."""
    return importlib.import_module(f"cadtwist.kernels.{kernel}_py")


def native_twin(kernel: str) -> ModuleType | None:
    """Return the compiled twin, or None where none is built (the caller skips with that reason)."""
    assert kernel in active.KERNELS
    if not NATIVE_EXPECTED:
        return None
    try:
        return importlib.import_module(f"cadtwist.kernels.{kernel}")
    except ImportError:
        return None
