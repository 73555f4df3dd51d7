"""What istatd itself wrote for the same lines: every byte of every file."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.statformat import HEADER_BYTES
from tests.istatrig import IstatRig, golden, golden_files

FILES = golden_files()
CASES = sorted({path.split("/")[0] for path in FILES})
T = 1325394000


def replayed(root: str, case: str) -> IstatRig:
    """Return a rig that was given what istatd was given."""
    steps = json.loads(FILES[f"{case}/steps.json"])
    arguments: list[str] = steps["args"]
    retention = arguments[arguments.index("--retention") + 1]
    rig = IstatRig(root, retention, float(arguments[arguments.index("--fake-time") + 1]))
    for step in steps["steps"]:
        if "stat_port_tcp" in step:
            rig.feed(step["stat_port_tcp"])
        else:
            rig.flush()
    return rig


class RecordedFileTests(SynchronousTestCase):
    maxDiff = None

    def compare(self, case: str) -> list[str]:
        """Return the files of a case that differ from the recorded ones."""
        rig = replayed(self.mktemp(), case)
        wrong = []
        for path, recorded in FILES.items():
            parts = path.split("/")
            if parts[0] != case or len(parts) != 3 or path.endswith((".csv", ".info")):
                continue
            with open(rig.path(parts[1], parts[2]), "rb") as file:
                if file.read() != recorded:
                    wrong.append(path)
        for account in rig.accounts.values():
            self.assertEqual(account.balance(), 0, account.name)
        return wrong

    def test_files_are_the_same(self) -> None:
        for case in CASES:
            if case != "old_samples":
                self.assertEqual(self.compare(case), [], case)

    def test_samples_from_before_a_file_began_keep_what_is_there(self) -> None:
        """The one deviation: the recorded daemon counts such samples one cell too high and wipes the first cell."""
        self.assertEqual(self.compare("old_samples"), [f"old_samples/old.g/{file}" for file in ("10s", "1h", "5m")])
        rig = replayed(self.mktemp(), "old_samples")
        self.assertEqual(rig.sums("old.g", "10s"), [3.0, 3.0, 1337.0])
        self.assertEqual(rig.select("old.g", T - 10, T + 10).cells["time"].tolist(), [T - 10, T])
        self.assertEqual(sum(rig.sums("old.g", "1h")), 2 * 1337.0 + 1 + 2 + 3 + 4 + 5)

    def test_names_lead_to_the_same_folders(self) -> None:
        recorded: dict[str, Any] = golden("names.json")
        rig = IstatRig(self.mktemp(), "10s:1h,5m:2h,1h:3h", T + 1000)
        rig.feed("".join(f"{line}\n" for line in recorded["lines"]))
        rig.flush()
        found = {}
        for folder, _folders, files in os.walk(rig.store.root):
            if files:
                name = folder.removeprefix(rig.store.root)
                with open(os.path.join(folder, "10s"), "rb") as file:
                    cells = file.read()[8192:]
                filled = sum(any(cells[at : at + 32]) for at in range(0, len(cells), 32))
                found[name] = {"data_buckets": filled, "files": sorted(files)}
        self.assertEqual(found, recorded["store_directories"])

    def test_cells_are_the_same_after_reopening(self) -> None:
        """A store that istatd wrote is continued: the same lines in two halves, restarted between, add up."""
        for case, name in (("gauge", "test.gauge"), ("gauge_aggregated", "agg.seven")):
            steps = json.loads(FILES[f"{case}/steps.json"])["steps"]
            lines = steps[0]["stat_port_tcp"].splitlines(keepends=True)
            root = self.mktemp()
            for half in (lines[:2], lines[2:]):
                rig = IstatRig(root, "10s:1h,5m:2h,1h:3h", T + 1000)
                rig.feed("".join(half))
                rig.flush()
            for file in ("10s", "5m", "1h"):
                with open(rig.path(name, file), "rb") as found:
                    self.assertEqual(found.read()[HEADER_BYTES:], FILES[f"{case}/{name}/{file}"][HEADER_BYTES:])
