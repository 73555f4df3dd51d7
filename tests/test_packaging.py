"""What is installed: the rows of twistd, the commands, the files of the distribution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase

from cadtwist import __version__
from cadtwist.kernels.active import KERNELS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SLOW = None if os.environ.get("CADTWIST_SYSTEM") == "1" else "builds the distribution: CADTWIST_SYSTEM=1 only"
if not os.path.exists(os.path.join(ROOT, ".git")):
    SLOW = "needs a git checkout"


def plugin_rows() -> dict[str, IServiceMaker]:
    path = os.path.join(ROOT, "twisted", "plugins", "cadtwist_plugin.py")
    with open(path, encoding="utf-8") as file:
        names: dict[str, object] = {}
        exec(compile(file.read(), path, "exec"), names)
    return {row.tapname: row for row in names.values() if IServiceMaker.providedBy(row)}


class RowTests(SynchronousTestCase):
    def test_rows(self) -> None:
        rows = plugin_rows()
        self.assertLessEqual({"cache", "carbon-cache", "cadtwist"}, set(rows))
        for row in rows.values():
            self.assertTrue(IPlugin.providedBy(row))
            self.assertTrue(row.description.endswith("."))
            self.assertNotIn("\n", row.description)

    def test_listing_the_rows_imports_no_service(self) -> None:
        code = (
            "import sys; from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker;"
            "rows = [r.tapname for r in getPlugins(IServiceMaker)];"
            "print('cadtwist' in rows, [m for m in sys.modules if m.startswith('cadtwist')])"
        )
        environ = {**os.environ, "PYTHONPATH": ROOT}
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
        self.assertEqual(told.stdout.strip(), "True []")

    def test_plugin_folder_stays_shared(self) -> None:
        for folder in ("twisted", "twisted/plugins"):
            self.assertFalse(os.path.exists(os.path.join(ROOT, folder, "__init__.py")))


class VersionTests(SynchronousTestCase):
    def test_changelog_knows_what_comes(self) -> None:
        with open(os.path.join(ROOT, "CHANGELOG.md"), encoding="utf-8") as file:
            self.assertIn("## Unreleased", file.read())

    def test_version_is_a_version(self) -> None:
        self.assertTrue(re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", __version__))


class DistributionTests(SynchronousTestCase):
    """Builds what users get.  It uses the build tools of this environment, so no network is needed."""

    skip = SLOW

    def build(self, *command: str, **environ: str) -> str:
        folder = os.path.abspath(self.mktemp())
        source = os.path.join(folder, "source")
        os.makedirs(source)
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
        for name in filter(None, files):
            if os.path.exists(os.path.join(ROOT, name)):
                os.makedirs(os.path.dirname(os.path.join(source, name)), exist_ok=True)
                os.symlink(os.path.join(ROOT, name), os.path.join(source, name))
        environ = {**os.environ, **environ}
        result = subprocess.run(
            [sys.executable, *command], cwd=source, env=environ, capture_output=True, text=True, check=False
        )
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return source

    def test_sdist_has_what_a_build_needs(self) -> None:
        source = self.build("setup.py", "-q", "sdist")
        (name,) = os.listdir(os.path.join(source, "dist"))
        with tarfile.open(os.path.join(source, "dist", name)) as archive:
            members = {member.partition("/")[2] for member in archive.getnames()}
        for kernel in KERNELS:
            self.assertIn(f"cadtwist/kernels/{kernel}.pyx", members)
            self.assertIn(f"cadtwist/kernels/{kernel}_py.py", members)
            self.assertNotIn(f"cadtwist/kernels/{kernel}.c", members)
        needed = {"twisted/plugins/cadtwist_plugin.py", "cadtwist/py.typed", "conf/quickstart.toml", "Makefile"}
        self.assertEqual(needed - members, set())

    def test_wheel_without_a_compiler(self) -> None:
        wheel = ("wheel", "-q", "--no-build-isolation", "--no-deps", "-w", "out", ".")
        source = self.build("-m", "pip", *wheel, CC="/bin/false")
        (name,) = os.listdir(os.path.join(source, "out"))
        with zipfile.ZipFile(os.path.join(source, "out", name)) as archive:
            members = set(archive.namelist())
        self.assertFalse([member for member in members if member.endswith(".so")])
        self.assertIn("twisted/plugins/cadtwist_plugin.py", members)
        self.assertNotIn("twisted/plugins/__init__.py", members)
        self.assertNotIn("twisted/__init__.py", members)
        self.assertIn("cadtwist/py.typed", members)
        self.assertFalse([member for member in members if member.startswith(("tests/", "benchmarks/"))])
