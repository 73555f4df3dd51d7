"""Builds the native kernels; their absence is no failure, since every kernel has a Python twin.

Environment: `CADTWIST_PURE=1` builds none; `CADTWIST_REQUIRE_NATIVE=1` makes a kernel that cannot be built an
error; `CADTWIST_KERNELS="table points"` builds only those named.
"""

from __future__ import annotations

import glob
import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REQUIRED = os.environ.get("CADTWIST_REQUIRE_NATIVE") == "1"


def give_up(error):
    """Go on without native kernels, or fail where they are required."""
    if REQUIRED:
        raise error
    print(f"cadtwist: native kernels are not built ({error}); the Python twins serve", file=sys.stderr)


class optional_build_ext(build_ext):  # noqa: N801 (setuptools looks commands up by such names)
    """Compiles what can be compiled, on up to four processors, and goes on with the Python twins where it cannot."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = min(4, os.cpu_count() or 1)

    def run(self):
        try:
            super().run()
        except Exception as error:  # noqa: BLE001
            give_up(error)

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001
            give_up(error)


def numpy_headers():
    """Return NumPy's include folder, where NumPy is installed."""
    try:
        import numpy as np
    except ImportError:
        return []
    return [np.get_include()]


def extensions():
    """Return the Extension list, empty when pure Python is asked for or Cython is missing."""
    if os.environ.get("CADTWIST_PURE") == "1" and not REQUIRED:
        return []
    only = os.environ.get("CADTWIST_KERNELS")
    names = only.split() if only else [os.path.basename(p)[:-4] for p in sorted(glob.glob("cadtwist/kernels/*.pyx"))]
    if not names:
        return []
    try:
        from Cython.Build import cythonize

        return cythonize([extension(name) for name in names], language_level=3, quiet=True)
    except Exception as error:  # noqa: BLE001 (no Cython, or it refuses a kernel)
        give_up(error)
        return []


def extension(name):
    """Return how the kernel `name` is compiled."""
    return Extension(
        f"cadtwist.kernels.{name}",
        [f"cadtwist/kernels/{name}.pyx"],
        include_dirs=numpy_headers(),
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        depends=sorted(glob.glob("cadtwist/kernels/*.h")),
        extra_compile_args=["-O3", "-fno-strict-aliasing", "-ffp-contract=off"],
        optional=not REQUIRED,
    )


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": optional_build_ext},
    # twisted/plugins has no __init__: it is a folder that several projects share
    py_modules=["twisted.plugins.cadtwist_plugin"],
)
