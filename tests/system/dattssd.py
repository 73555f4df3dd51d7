"""Our own DaTtSs server as a process: `twistd cadtwist` with TOML written for one test."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cadtwist.codec.dattss import DattssKeys
from tests.system.cadtwistd import ROOT, RUN_TWISTD, Daemon, get
from tests.system.process import free_ports

__all__ = ["SECRET", "Dattssd"]

SECRET = "secret"
_DOORS = """
[[listeners]]
protocol = "dattss"
interface = "127.0.0.1"
port = {http}

[[listeners]]
protocol = "dattss"
transport = "udp"
interface = "127.0.0.1"
port = {udp}

[[listeners]]
protocol = "http"
interface = "127.0.0.1"
port = {reports}

[dattss]
secret = "{secret}"
directory = "{directory}"
{more}
"""


class Dattssd(Daemon):
    """A server on loopback ports: HTTP `http`, values over UDP `udp`, /ledger at `reports`.

    `more` is TOML of [dattss]; `nodes` are the HTTP ports of all nodes, of which `http` is ours.
    """

    def __init__(self, folder: Path, more: str = "", nodes: Sequence[int] = (), http: int = 0) -> None:
        self.http, self.udp, self.reports = free_ports(3)
        self.http = http or self.http
        self.keys = DattssKeys(SECRET)
        self.store = folder / "store"
        conf = folder / "dattss.toml"
        command = [*RUN_TWISTD, "-n", "--pidfile=", "cadtwist", "-c", conf]
        super().__init__("dattss", command, folder, {}, (self.http, self.reports), cwd=ROOT)
        folder.mkdir(parents=True, exist_ok=True)
        if nodes:
            more += f'\nnode = "127.0.0.1:{self.http}"\n'
            more += "".join(f'[[dattss.nodes]]\nhost = "127.0.0.1"\nport = {port}\n' for port in nodes)
        conf.write_text(
            _DOORS.format(
                http=self.http, udp=self.udp, reports=self.reports, secret=SECRET, directory=self.store, more=more
            )
        )

    def ask(self, path: str, user: str = "user1") -> Any:
        """Return what a user is answered."""
        key = urllib.parse.quote(self.keys.key(user))
        return json.loads(get(f"http://127.0.0.1:{self.http}{path}?auth={key}"))

    def sums(self, user: str = "user1") -> dict[str, int]:
        """Return the totals of a user's counters by path."""
        return {each["pth"]: each["sum"] for each in self.ask("/s/status", user)["c"]}

    def environ_of_clients(self, user: str = "user1") -> dict[str, str]:
        """Return what clients read from the environment."""
        return {
            "DATTSS_AUTH_KEY": self.keys.key(user),
            "DATTSS_SERVER_HTTP_HOST": "127.0.0.1",
            "DATTSS_SERVER_HTTP_PORT": str(self.http),
            "DATTSS_SERVER_UDP_HOST": "127.0.0.1",
            "DATTSS_SERVER_UDP_PORT": str(self.udp),
        }
