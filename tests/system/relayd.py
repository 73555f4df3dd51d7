"""Our own relay as a process: `twistd cadtwist` with TOML written for one test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.system.cadtwistd import ROOT, RUN_TWISTD, get
from tests.system.process import Process, free_ports

__all__ = ["Relayd", "toml"]


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Relayd(Process):
    """A relay on loopback ports: line TCP and UDP `line`, HTTP `http`.

    `ports` are those of its destinations `d0`, `d1` ...; `group` and `destination` give further values of the one
    group and of each destination; `text` is TOML for the top.
    """

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        group: Mapping[str, object] | None = None,
        destination: Mapping[str, object] | None = None,
        lines: Mapping[str, object] | None = None,
        text: str = "",
        name: str = "relay",
    ) -> None:
        self.line, self.http = free_ports(2)
        self.conf = folder / "relay.toml"
        self.targets = list(ports)
        self.group = {"method": "carbon", "hash": "carbon_ch", **(group or {})}
        self.destination = dict(destination or {})
        self.lines = dict(lines or {})
        self.text = text
        command = [*RUN_TWISTD, "-n", "--pidfile=", "cadtwist", "-c", self.conf]
        super().__init__(name, command, folder, {}, (self.line, self.http), cwd=ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_conf()

    def write_conf(self) -> None:
        """Write the configuration (again)."""
        parts = [
            self.text,
            "[self_metrics]\ninterval_s = 0.0",
            f"[spool]\ndirectory = {toml(str(self.folder / 'spool'))}\nsegment_bytes = 1048576",
            f'[[listeners]]\nprotocol = "line"\ninterface = "127.0.0.1"\nport = {self.line}',
            f'[[listeners]]\nprotocol = "line"\ntransport = "udp"\ninterface = "127.0.0.1"\nport = {self.line}',
            f'[[listeners]]\nprotocol = "http"\ninterface = "127.0.0.1"\nport = {self.http}',
            f'[[relays]]\nname = "relay"\nlines = {toml(self.lines)}',
            "[[relays.groups]]",
            *(f"{key} = {toml(value)}" for key, value in self.group.items() if key != "members"),
            f"members = {toml(self.group.get('members', [f'd{n}' for n in range(len(self.targets))]))}",
        ]
        for number, port in enumerate(self.targets):
            parts.append(f'[[destinations]]\nname = "d{number}"\nhost = "127.0.0.1"\nport = {port}')
            parts.append(f'instance = "{chr(97 + number)}"')
            parts += [f"{key} = {toml(value)}" for key, value in self.destination.items()]
        self.conf.write_text("\n".join(parts) + "\n")

    def wait_ready(self, seconds: float) -> None:
        """Wait until all ports accept and it calls itself ready."""
        super().wait_ready(seconds)
        self.until(f"{self.name} is ready", self.ready, seconds)

    def json(self, path: str) -> Any:
        """Return the decoded answer of an HTTP question."""
        return json.loads(get(f"http://127.0.0.1:{self.http}{path}"))

    def ready(self) -> bool:
        """Tell whether it is ready."""
        try:
            return bool(self.json("/ops/status")["ready"])
        except OSError:
            return False

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Return the accounts of /ledger by name."""
        answer = self.json("/ledger")
        accounts = answer if isinstance(answer, list) else answer["accounts"]
        return {account["name"]: account for account in accounts}

    def unbalanced(self) -> dict[str, int]:
        """Return the accounts whose books do not close."""
        return {name: account["balance"] for name, account in self.ledger().items() if account["balance"]}

    def destinations(self) -> dict[str, dict[str, Any]]:
        """Return the accounts of destinations by name."""
        start = "destination "
        return {name[len(start) :]: account for name, account in self.ledger().items() if name.startswith(start)}
