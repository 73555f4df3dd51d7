"""Our own relay as a process: `twistd cadtwist` with TOML, or `twistd relay` with a carbon.conf, for one test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Daemon, conf_text
from tests.system.process import Process, free_ports

__all__ = ["CarbonRelayd", "Relayd", "toml"]


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Relayd(Daemon):
    """A relay on loopback ports: line TCP and UDP `line`, HTTP `http`.

    `ports` are those of its destinations `d0`, `d1` ..., whose instances are `a`, `b` ... unless given; `group` and
    `destination` give further values of the first group and of each destination; `more` are further groups, whole;
    `text` is TOML for the top.
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
        more: Sequence[Mapping[str, object]] = (),
        instances: Sequence[str | None] | None = None,
    ) -> None:
        self.line, self.http = free_ports(2)
        self.reports = self.http
        self.conf = folder / "relay.toml"
        self.targets = list(ports)
        self.group = {"method": "carbon", "hash": "carbon_ch", **(group or {})}
        self.destination = dict(destination or {})
        self.lines = dict(lines or {})
        self.text = text
        self.more = list(more)
        letters = [chr(97 + number) for number in range(len(self.targets))]
        self.instances: Sequence[str | None] = letters if instances is None else instances
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
        ]
        everybody = [f"d{number}" for number in range(len(self.targets))]
        for group in ({"members": everybody, **self.group}, *self.more):
            parts += ["[[relays.groups]]", *(f"{key} = {toml(value)}" for key, value in group.items())]
        for number, port in enumerate(self.targets):
            parts.append(f'[[destinations]]\nname = "d{number}"\nhost = "127.0.0.1"\nport = {port}')
            instance = self.instances[number]
            parts += [] if instance is None else [f"instance = {toml(instance)}"]
            parts += [f"{key} = {toml(value)}" for key, value in self.destination.items()]
        self.conf.write_text("\n".join(parts) + "\n")

    def wait_ready(self, seconds: float) -> None:
        """Wait until all ports accept and it calls itself ready."""
        super().wait_ready(seconds)
        self.until(f"{self.name} is ready", self.serving, seconds)

    def destinations(self) -> dict[str, dict[str, Any]]:
        """Return the accounts of destinations by name."""
        start = "destination "
        return {name[len(start) :]: account for name, account in self.ledger().items() if name.startswith(start)}


class CarbonRelayd(Process):
    """`twistd relay` over the options of a carbon.conf, as `neighbours.CarbonRelay` takes them."""

    def __init__(self, folder: Path, destinations: Sequence[str], options: Mapping[str, object] | None = None) -> None:
        (self.line,) = free_ports(1)
        conf = folder / "carbon.conf"
        mine = {
            "LINE_RECEIVER_INTERFACE": "127.0.0.1",
            "LINE_RECEIVER_PORT": self.line,
            "PICKLE_RECEIVER_PORT": 0,
            "CARBON_METRIC_INTERVAL": 0,
            "RELAY_METHOD": "consistent-hashing",
            "DESTINATIONS": ", ".join(destinations),
            "SPOOL_DIR": folder / "spool",
            **(options or {}),
        }
        environ = {
            "GRAPHITE_ROOT": str(folder),
            "GRAPHITE_CONF_DIR": str(folder),
            "GRAPHITE_STORAGE_DIR": str(folder / "storage"),
        }
        command = [*RUN_TWISTD, "-n", "--pidfile=", "relay", f"--config={conf}"]
        super().__init__("twistd-relay", command, folder, environ, (self.line,), cwd=ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        conf.write_text(conf_text("relay", mine))
