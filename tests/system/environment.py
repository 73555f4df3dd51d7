"""The neighbours of the system tests and benchmarks: Python's, npm's statsd, carbon-c-relay, Redis, and those of Go.

Run as a script it builds what is missing and says where it is::

    python tests/system/environment.py [carbon] [graphite-web] [graphite-api] [statsd] [carbon-c-relay] ...

carbon-c-relay, Redis, Node and npm are Debian's, installed where this is done by root; go-carbon and carbonapi are for
benchmarks only.  Each other neighbour lives in an environment of its own under `.venv-neighbours/` in the checkout (or
the folder named in CADTWIST_NEIGHBOURS) and is reused when it is there.  carbon 1.1.10 and Django 3.0 do not start on
Python 3.12 and later, so that an older interpreter is looked for (CADTWIST_NEIGHBOUR_PYTHON names one).  Standard
library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["NEIGHBOURS", "NODE_NEIGHBOURS", "Missing", "build", "folder", "program"]

NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "carbon": (
        "carbon==1.1.10", "whisper==1.1.10", "Twisted==26.10.0", "setuptools<81", "protobuf<3.21", "mmh3==5.3.1",
    ),
    "graphite-web": ("graphite-web==1.1.10", "Django==3.0.14", "gunicorn", "whisper==1.1.10", "setuptools<81"),
    "graphite-api": (
        "graphite-api==1.1.3", "flask<2.1", "werkzeug<2.1", "jinja2<3.1", "itsdangerous<2.1", "tzlocal<3", "gunicorn",
        "setuptools<81",
    ),
    "rainbow-saddle": ("rainbow-saddle==0.4.0", "setuptools<81"),
}
"""What pip installs for each."""

NODE_NEIGHBOURS: dict[str, tuple[str, ...]] = {"statsd": ("statsd@0.9.0",), "dattss": ("dattss@0.1.8",)}
"""What npm installs for each: programs for Node."""

PACKAGES = ("carbon-c-relay", "redis-server")
"""Debian's packages, each with a program of its name."""

GO = {
    "go-carbon": ("github.com/go-graphite/go-carbon", "v0.19.1", ""),
    "carbonapi": ("github.com/go-graphite/carbonapi", "v0.16.1", "/cmd/carbonapi"),
}
"""Module, version and package (below the module) of those that Go builds."""

PYTHONS = ("python3.11", "python3.10", "python3.9", "python3.8")
ROOT = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """A neighbour cannot be had here; the text says why."""


def folder() -> Path:
    """Return the folder that holds all neighbours."""
    return Path(os.environ.get("CADTWIST_NEIGHBOURS") or ROOT / ".venv-neighbours")


def program(neighbour: str, name: str) -> Path:
    """Return the path of a neighbour's program; Missing when it is not built."""
    installed = shutil.which(name) if neighbour in PACKAGES else None
    path = Path(installed) if installed else folder() / neighbour / "bin" / name
    if not path.exists():
        raise Missing(f"{neighbour} is not built: python tests/system/environment.py {neighbour}")
    return path


def build(neighbour: str) -> Path:
    """Build `neighbour` unless it is there as wanted; return its folder.  Missing says what is wrong."""
    if neighbour in PACKAGES:
        return _package(neighbour)
    packages = {**NEIGHBOURS, **NODE_NEIGHBOURS, **GO}[neighbour]
    wanted = " ".join(packages).strip()
    target = folder() / neighbour
    mark = target / "built-from.txt"
    if mark.exists() and mark.read_text() == wanted:
        return target
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / ".gitignore").write_text("*\n")
    shutil.rmtree(target, ignore_errors=True)
    if neighbour in GO:
        _build_go(neighbour, target)
    elif neighbour in NODE_NEIGHBOURS:
        _build_node(target, packages)
    else:
        _build_python(target, packages)
    mark.write_text(wanted)
    return target


def _package(name: str, program: str = "") -> Path:
    """Install a Debian package unless its program is there; return the program's folder."""
    program = program or name
    found = shutil.which(program)
    if found is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Missing(f"{name} is not installed: apt install {name}")
        _run("apt-get", "update", "-qq")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", name, **quiet)
        found = shutil.which(program)
    if found is None:
        raise Missing(f"{name} was installed, but there is no program {program}")
    return Path(found).parent


def _run(*command: str | Path, cwd: Path | None = None, **environ: str) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{Path(str(command[0])).name} ended with {done.returncode}:\n{done.stdout[-2000:]}")


def _old_python() -> str:
    named = os.environ.get("CADTWIST_NEIGHBOUR_PYTHON")
    if named:
        return named
    if sys.version_info[:2] < (3, 12):
        return sys.executable
    for name in PYTHONS:
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return path
    raise Missing("carbon and graphite-web need a Python before 3.12; name one in CADTWIST_NEIGHBOUR_PYTHON")


def _build_python(target: Path, wanted: tuple[str, ...]) -> None:
    _run(_old_python(), "-m", "venv", target)
    python = target / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", *wanted)
    drawing = subprocess.run([python, "-c", "import cairocffi"], capture_output=True, text=True, check=False)
    if "cannot load library" in drawing.stderr:  # no libcairo here; nothing in our tests draws
        _run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "cairocffi")
        site = next((target / "lib").glob("python3*/site-packages"))
        (site / "cairocffi.py").write_text('"""Stands for the drawing library, which this machine has not."""\n')


def _build_node(target: Path, wanted: tuple[str, ...]) -> None:
    _package("nodejs", "node")
    _package("npm")
    target.mkdir(parents=True)
    quiet = ("--no-audit", "--no-fund", "--omit=optional", "--ignore-scripts", "--silent")
    _run("npm", "install", *quiet, "--prefix", target, *wanted)


def _build_go(name: str, target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise Missing(f"{name} needs Go")
    module, version, package = GO[name]
    (target / "bin").mkdir(parents=True)
    (target / "go.mod").write_text(f"module neighbour\n\ngo 1.22\n\nrequire {module} {version}\n")
    (target / "tools.go").write_text(f'//go:build tools\n\npackage neighbour\n\nimport _ "{module}{package}"\n')
    _run(go, "build", "-mod=mod", "-o", target / "bin" / name, module + package, cwd=target)


def main() -> int:
    """Build the neighbours named on the command line (default: those of the tests); return the exit code."""
    failed = 0
    for neighbour in sys.argv[1:] or [*NEIGHBOURS, *NODE_NEIGHBOURS, *PACKAGES]:
        try:
            print(f"{neighbour}: {build(neighbour)}")
        except Missing as reason:
            print(f"{neighbour}: not here: {reason}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
