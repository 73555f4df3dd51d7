"""The base of tests of commands that read files and start something."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

__all__ = ["FolderCase"]


class FolderCase(SynchronousTestCase):
    """`folder` for files, the environment `environ`, and the command lines that were `started`."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.environ: dict[str, str] = {}
        self.started: list[list[str]] = []

    def write(self, name: str, text: str) -> str:
        """Write a file into the folder; return its path."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path
