"""What changes in a file while it is made equal."""

from __future__ import annotations

import os
import random
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.replica import Kind, read_ask_folder, read_ask_pages, read_ask_sums
from cadtwist.kernels.statformat import PAGE_BYTES
from cadtwist.services.replicacompare import Comparison
from cadtwist.storage.replicafiles import ReplicaFiles

NOW_NS = 1_800_000_000_000_000_000


class ChangesTests(SynchronousTestCase):
    """A change reaches the replica as any: where there is a file, it is written there, else there is nothing to do."""

    def setUp(self) -> None:
        self.master, self.replica = os.path.abspath(self.mktemp()), os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.master, "c"))
        os.makedirs(os.path.join(self.replica, "c"))
        self.theirs = ReplicaFiles(self.master)
        data = random.Random(1).randbytes(PAGE_BYTES) + bytes(7 * PAGE_BYTES)
        self.paths = [os.path.join(root, "c", "10s") for root in (self.master, self.replica)]
        with open(self.paths[0], "wb") as file:
            file.write(data)
        self.changes = [2, 4, 6]

    def change(self) -> None:
        """Change another page that was empty."""
        if self.changes:
            number = self.changes.pop()
            for path in filter(os.path.exists, self.paths):
                with open(path, "r+b") as file:
                    os.pwrite(file.fileno(), b"changed", number * PAGE_BYTES)

    async def ask(self, kind: Kind, payload: bytes) -> bytes:
        if kind == Kind.ASK_FOLDER:
            return self.theirs.folder(*read_ask_folder(payload)).pack()
        self.change()
        if kind == Kind.ASK_SUMS:
            return self.theirs.sums(*read_ask_sums(payload), NOW_NS).pack()
        return self.theirs.pages(*read_ask_pages(payload), NOW_NS).pack()

    async def read(self, work: Any, *arguments: Any) -> Any:
        return work(*arguments)

    def test_a_file_that_is_new(self) -> None:
        comparison = Comparison(ReplicaFiles(self.replica), self.read, self.ask, b"10s", trust_times=False)
        self.successResultOf(ensureDeferred(comparison.run()))
        contents = []
        for path in self.paths:
            with open(path, "rb") as file:
                contents.append(file.read())
        self.assertEqual(contents[1], contents[0])
        self.assertEqual((comparison.made_equal, self.changes), (1, []))
