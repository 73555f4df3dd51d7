"""Real processes under test: start them, wait until they answer, look at them, and always end them."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

__all__ = [
    "NotReady", "Process", "end_serving", "family", "free_ports", "hand_over", "is_dead", "raise_file_limit", "until",
]  # fmt: skip

T = TypeVar("T")
_TICK = os.sysconf("SC_CLK_TCK")
_TAIL_BYTES = 4000


class NotReady(AssertionError):
    """Something that was waited for did not happen in time; the text ends with the process's last words."""


def until(what: str, look: Callable[[], T], seconds: float = 30.0, pause: float = 0.05) -> T:
    """Return the first true answer of `look()`, asked again and again; NotReady after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > end:
            raise NotReady(f"{what}: still {answer!r} after {seconds:g} s")
        time.sleep(pause)


def is_dead(pid: int) -> bool:
    """Tell whether a process, of whomever, runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def hand_over(serving: Callable[[], int], seconds: float = 60.0) -> int:
    """Let another process take the place of the one that `serving()` names (0: none), by SIGUSR2; return which."""
    old = until("it serves", serving, seconds)
    os.kill(old, signal.SIGUSR2)
    new = until("another process serves", lambda: (found := serving()) != old and found, seconds)
    until("the old process is gone", lambda: is_dead(old), seconds)
    return new


def end_serving(serving: Callable[[], int], number: int = signal.SIGTERM) -> None:
    """End whoever serves, if anybody does: after a hand-over it is no child of the test."""
    pid = serving()
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until("it ends", lambda: is_dead(pid), 60)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody has now, neither for TCP nor for UDP."""
    held: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < count:
        stream = socket.socket()
        stream.bind(("127.0.0.1", 0))
        held.append(stream)
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held.append(datagram)
        try:
            datagram.bind(stream.getsockname())
        except OSError:
            continue
        ports.append(stream.getsockname()[1])
    for each in held:
        each.close()
    return ports


def raise_file_limit(wanted: int) -> int:
    """Raise this process's (and its children's) bound of open files towards `wanted`; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return soft
    for limit in ((wanted, max(hard, wanted)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            break
        except (OSError, ValueError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += family(int(child))
    except OSError:
        pass
    return found


class Process:
    """A program in a folder of its own; stdout and stderr go to `<folder>/<name>.out`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environ: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.folder = folder
        self.environ = {**os.environ, "HOME": str(folder), **(environ or {})}
        self.ports = tuple(ports)
        self.cwd = cwd or folder
        self.log = folder / f"{name}.out"
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 30.0) -> None:
        """Start the program and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.cwd,
                env=self.environ,
                start_new_session=True,
            )
        try:
            self.wait_ready(seconds)
        except BaseException:
            self.kill()
            raise

    def wait_ready(self, seconds: float) -> None:
        """Wait until every port of `ports` accepts a connection."""
        for port in self.ports:
            self.until(f"{self.name} listens on {port}", partial(self._listens, port), seconds)

    def until(self, what: str, look: Callable[[], T], seconds: float = 30.0) -> T:
        """Wait as `until` does, but not for the dead, and with the process's last words in the failure."""

        def look_alive() -> T:
            if not self.alive():
                raise NotReady(f"{what}: {self.name} ended with {self.exit_code()}")
            return look()

        try:
            return until(what, look_alive, seconds)
        except NotReady as failure:
            raise NotReady(f"{failure}\n--- {self.name} said\n{self.tail()}") from None

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        assert self._running is not None, f"{self.name} was never started"
        return self._running.pid

    def alive(self) -> bool:
        """Tell whether the program runs."""
        return self._running is not None and self._running.poll() is None

    def exit_code(self) -> int | None:
        """Return how it ended; None while it runs or before its start."""
        return None if self._running is None else self._running.poll()

    def tail(self) -> str:
        """Return the end of what it printed."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send a signal to the program alone (not to its children)."""
        os.kill(self.pid, number)

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code; NotReady when it does not end in time."""
        if self._running is None:
            return 0
        if self.alive():
            self.signal(signal.SIGTERM)
        try:
            code = self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NotReady(f"{self.name} does not end within {seconds:g} s\n{self.tail()}") from None
        self._end_group()
        return code

    def kill(self) -> None:
        """End it and its children at once (SIGKILL)."""
        if self._running is not None:
            self._end_group()
            self._running.wait()

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    @staticmethod
    def _listens(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    def limit_file_size(self, size: int | None) -> None:
        """Let no file of the running program grow beyond `size` bytes, as if the disk were full; None: no bound."""
        soft = resource.RLIM_INFINITY if size is None else size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def cpu_s(self) -> float:
        """Return the CPU seconds (user and system) that it and its children used, dead children included."""
        ticks = 0
        for pid in family(self.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            ticks += sum(int(fields[place]) for place in (11, 12, 13, 14))
        return ticks / _TICK

    def settle(self, quiet_s: float = 0.5, seconds: float = 60.0, noise_s: float = 0.03) -> None:
        """Wait until it uses (nearly) no CPU any more."""
        last = self.cpu_s()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(quiet_s)
            used = self.cpu_s()
            if used - last <= noise_s:
                return
            last = used

    def memory_bytes(self, peak: bool = False, children: bool = True) -> int:
        """Return the resident set now, or its highest mark, summed over the process and its children."""
        field = re.compile(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)")
        total = 0
        for pid in family(self.pid) if children else [self.pid]:
            try:
                found = field.search(Path(f"/proc/{pid}/status").read_text())
            except OSError:
                continue
            total += int(found.group(1)) * 1024 if found else 0
        return total

    def open_files(self) -> int:
        """Return how many descriptors the program itself holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
