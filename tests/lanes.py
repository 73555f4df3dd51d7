"""Runs the lanes of the test suite one after the other, and says at the very end how many tests passed.

    python tests/lanes.py native pure system

Each lane is one run of trial with its own environment:

native   the fast tests, with the native kernels where they are built
pure     the fast tests once more, with the Python twins only
system   real processes and the real neighbours (tests/system)

The last line of the output is `N passed, N failed`, over all lanes; the exit status is 0 when nothing failed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LANES: dict[str, tuple[list[str], dict[str, str]]] = {
    "native": (["tests"], {}),
    "pure": (["tests"], {"CADTWIST_PURE": "1"}),
    "system": (["tests.system", "tests.test_packaging"], {"CADTWIST_SYSTEM": "1"}),
}

ALONE = ("system",)
"""Lanes whose tests need the machine for themselves; the others run in as many processes as there are processors."""

MOST_PROCESSES = 4

LIMITS_S = {"native": 900.0, "pure": 900.0, "system": 3600.0}
"""A lane that takes longer is ended, showing where it was, and counted as failed."""

TAIL_BYTES = 8192

_RESULT = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?\s*$")
_GOOD = ("successes", "expectedFailures")
_BAD = ("failures", "errors", "unexpectedSuccesses")


class Outcome(NamedTuple):
    """What one lane came to."""

    lane: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def counts(lines: list[str], status: int) -> tuple[int, int, int]:
    """Return (passed, failed, skipped) from trial's output and exit status.

    A run that ends without its result line, or that failed without naming a failure, is one failed test.
    """
    passed = failed = skipped = 0
    told = False
    for line in lines:
        found = _RESULT.match(line)
        if found:
            told = True
            pairs = dict(re.findall(r"(\w+)=(\d+)", found[2] or ""))
            passed = sum(int(pairs.get(kind, 0)) for kind in _GOOD)
            failed = sum(int(pairs.get(kind, 0)) for kind in _BAD)
            skipped = int(pairs.get("skips", 0)) + int(pairs.get("todos", 0))
    if not told or (status != 0 and failed == 0):
        failed += 1
    return passed, failed, skipped


def run(lane: str) -> Outcome:
    """Run one lane, showing its output as it comes."""
    targets, extra = LANES[lane]
    environ = {**os.environ, **extra}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    for other in ("CADTWIST_SYSTEM", "CADTWIST_PURE"):
        if other not in extra:
            environ.pop(other, None)
    print(f"\n=== {lane}: trial {' '.join([*targets, *(f'{k}={v}' for k, v in extra.items())])}", flush=True)
    started = time.monotonic()
    options = ["--reporter=text", f"--temp-directory=_trial_temp_{lane}"]
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    if lane not in ALONE and processes > 1:
        options.append(f"--jobs={processes}")
    command = [sys.executable, "-X", "faulthandler", "-m", "twisted.trial", *options, *targets]
    tail = b""
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as trial:
        assert trial.stdout is not None
        watch = threading.Timer(LIMITS_S[lane], trial.send_signal, [signal.SIGABRT])
        watch.daemon = True
        watch.start()
        while chunk := os.read(trial.stdout.fileno(), 65536):
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            tail = (tail + chunk)[-TAIL_BYTES:]
        trial.wait()
        watch.cancel()
    lines = tail.decode("utf-8", "replace").splitlines()
    return Outcome(lane, *counts(lines, trial.returncode), time.monotonic() - started)


def main(lanes: list[str]) -> int:
    """Run `lanes` and return the exit status."""
    unknown = [lane for lane in lanes if lane not in LANES]
    if unknown or not lanes:
        print(f"usage: lanes.py {{{'|'.join(LANES)}}} ...", file=sys.stderr)
        return 2
    outcomes = [run(lane) for lane in lanes]
    print()
    for outcome in outcomes:
        print(
            f"{outcome.lane:8} {outcome.passed:6} passed {outcome.failed:4} failed {outcome.skipped:4} skipped"
            f" {outcome.seconds:8.1f} s"
        )
    failed = sum(outcome.failed for outcome in outcomes)
    print(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
