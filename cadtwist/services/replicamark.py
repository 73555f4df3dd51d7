"""How far a replica is, kept in a small file beside its store."""

from __future__ import annotations

import contextlib
import json
import os

from cadtwist.errors import StorageError

__all__ = ["NOBODY", "ReplicaMark", "boot_id"]

NOBODY = bytes(16)
"""The life of no master."""


def boot_id() -> str:
    """Return what is another text after each start of the machine; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip()
    except OSError:
        return ""


class ReplicaMark:
    """Which life of a master was followed, and up to which change; both are told only as far as they are in the files.

    `complete`: all files were equal.  `trust_times`: times of change are the master's wherever files are equal.
    The mark counts only as long as the machine has not been started anew (`boot` differs then): pages that were
    written may be lost with it.  Blocks on a small file.
    """

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self.life, self.number, self.complete, self.trust_times = NOBODY, 0, False, False

    def read(self) -> None:
        """Read the file; one that is missing or damaged says nothing."""
        try:
            with open(self._path, encoding="ascii") as file:
                said = json.loads(file.read(4096))
            life, number = bytes.fromhex(said["life"]), int(said["number"])
            if said["boot"] == self._boot and len(life) == 16 and 0 <= number < 1 << 62:
                self.life, self.number = life, number
                self.complete, self.trust_times = bool(said["complete"]), bool(said["times"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def write(self) -> None:
        """Write the file, whole."""
        said = {
            "life": self.life.hex(), "number": self.number, "complete": self.complete, "times": self.trust_times,
            "boot": self._boot,
        }  # fmt: skip
        temporary = self._path + ".new"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                file.write(json.dumps(said) + "\n")
            os.replace(temporary, self._path)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error

    def remove(self) -> bool:
        """Forget all: the store goes its own way; return whether there was a mark of files that are not all equal."""
        self.read()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
            return not self.complete
        return False
