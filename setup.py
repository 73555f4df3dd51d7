"""Builds the native kernels; their absence is no failure, since every kernel has a Python twin."""

from __future__ import annotations

import glob
import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class optional_build_ext(build_ext):  # noqa: N801 (setuptools looks commands up by such names)
    """Compiles what can be compiled and goes on with the Python twins where it cannot."""

    def run(self):
        try:
            super().run()
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _give_up(self, error):
        if os.environ.get("CADTWIST_REQUIRE_NATIVE") == "1":
            raise error
        print(f"cadtwist: native kernels are not built ({error}); the Python twins serve", file=sys.stderr)


def extensions():
    """Return the Extension list, empty when pure Python is asked for or Cython is missing."""
    if os.environ.get("CADTWIST_PURE") == "1":
        return []
    try:
        import numpy
        from Cython.Build import cythonize
    except ImportError:
        return []
    only = os.environ.get("CADTWIST_KERNELS")
    names = only.split() if only else [os.path.basename(p)[:-4] for p in sorted(glob.glob("cadtwist/kernels/*.pyx"))]
    found = [
        Extension(
            f"cadtwist.kernels.{name}",
            [f"cadtwist/kernels/{name}.pyx"],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=["-O3", "-fno-strict-aliasing"],
            optional=True,
        )
        for name in names
    ]
    return cythonize(found, language_level=3, quiet=True) if found else []


try:
    ext_modules = extensions()
except Exception as error:  # noqa: BLE001
    if os.environ.get("CADTWIST_REQUIRE_NATIVE") == "1":
        raise
    print(f"cadtwist: native kernels are not built ({error}); the Python twins serve", file=sys.stderr)
    ext_modules = []

setup(
    ext_modules=ext_modules,
    cmdclass={"build_ext": optional_build_ext},
)
