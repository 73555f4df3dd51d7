"""Our counter daemon as a process: `twistd istat` with an istatd.cfg written for one test."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Daemon, get
from tests.system.process import free_ports

__all__ = ["Counterd"]


class Counterd(Daemon):
    """`twistd istat` on loopback ports, its store under `folder`; every option of istatd may be given."""

    def __init__(self, name: str, folder: Path, options: Mapping[str, object] | None = None) -> None:
        self.stat, self.http, self.admin, self.replica = free_ports(4)
        self.reports = self.http
        self.store = folder / "store"
        self.conf = folder / "istatd.cfg"
        self.options: dict[str, object] = {
            "listen-address": "127.0.0.1",
            "stat-port": self.stat,
            "http-port": self.http,
            "admin-port": self.admin,
            "store": self.store,
            "settings": folder / "settings",
            "files-dir": folder / "files",
            "retention": "10s:1h,5m:2h,1h:3h",
            "allocation-strategy": 2,
            **(options or {}),
        }
        command = [*RUN_TWISTD, "-n", "--pidfile=", "istat", "-c", self.conf]
        super().__init__(name, command, folder, ports=(self.stat, self.http, self.admin), cwd=ROOT)

    def start(self, seconds: float = 60.0) -> None:
        """Write the configuration and start; a value of None means a flag."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (f"--{name}" if value is None else f"--{name} {value}" for name, value in self.options.items())
        self.conf.write_text("\n".join(lines) + "\n")
        super().start(seconds)

    @property
    def url(self) -> str:
        """The address of HTTP."""
        return f"http://127.0.0.1:{self.http}"

    def send(self, lines: Iterable[str]) -> None:
        """Send lines over a connection of their own; when the daemon closes it, it has read them all."""
        with socket.create_connection(("127.0.0.1", self.stat), 60) as connection:
            connection.sendall("".join(f"{line}\n" for line in lines).encode())
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def get(self, target: str) -> Any:
        """Return the answer to a GET as JSON; OSError where it is an error."""
        return json.loads(get(self.url + target))

    def post(self, target: str, body: object) -> Any:
        """Return the answer to a POST of JSON."""
        return json.loads(get(self.url + target, json.dumps(body).encode()))

    def order(self, command: str) -> list[str]:
        """Return what the admin port says to a command, without the `ok`."""
        with socket.create_connection(("127.0.0.1", self.admin), 10) as connection:
            connection.settimeout(60)
            connection.sendall(f"{command}\n".encode())
            said = b""
            while not said.endswith(b"ok\r\n") and b"huh?" not in said:
                data = connection.recv(65536)
                if not data:
                    break
                said += data
        return said.decode().split("\r\n")[:-2]

    def sums(self, name: str, start: int, end: int) -> dict[int, float]:
        """Return the sums of a counter by time, nothing of one that is not there."""
        try:
            found = self.get(f"/{name}?start={start}&end={end}&samples=0")
        except OSError as error:
            if ": 404 " in str(error):
                return {}
            raise
        return {bucket["time"]: bucket["data"]["sum"] for bucket in found["buckets"]}
