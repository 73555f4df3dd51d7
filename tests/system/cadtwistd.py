"""Our own daemon as a process: `twistd cache` with a carbon.conf written for one test."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.system.process import Process, free_ports

__all__ = ["AGGREGATION", "RUN_TWISTD", "SCHEMAS", "Cadtwistd", "Daemon", "conf_text", "get", "serving_at"]

ROOT = Path(__file__).resolve().parents[2]
RUN_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
SCHEMAS = "[all]\npattern = .*\nretentions = {retentions}\n"
AGGREGATION = "[all]\npattern = .*\nxFilesFactor = 0\naggregationMethod = average\n"


def conf_text(section: str, options: Mapping[str, object]) -> str:
    """Return an ini section."""
    return f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())


def get(url: str, data: bytes | None = None, seconds: float = 30.0) -> bytes:
    """Return the body of a 2xx answer; OSError (with the answer's text) for anything else."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=seconds) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as refusal:
        raise OSError(f"{url}: {refusal.code} {refusal.read()[:500]!r}") from refusal


def serving_at(port: int) -> int:
    """Return the process that tells of itself at a port and is ready, 0 where none is."""
    try:
        status = json.loads(get(f"http://127.0.0.1:{port}/ops/status"))
    except OSError:
        return 0
    return int(status["pid"]) if status["ready"] else 0


class Daemon(Process):
    """One of our daemons, which tells of itself over HTTP at `reports`."""

    reports: int

    def json(self, path: str, **query: object) -> Any:
        """Return the decoded answer of an HTTP question; several values of one parameter come as a list."""
        text = urllib.parse.urlencode(query, doseq=True)
        return json.loads(get(f"http://127.0.0.1:{self.reports}{path}{'?' if text else ''}{text}"))

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Return the accounts of /ledger by name."""
        answer = self.json("/ledger")
        accounts = answer if isinstance(answer, list) else answer["accounts"]
        return {account["name"]: account for account in accounts}

    def unbalanced(self) -> dict[str, int]:
        """Return the accounts whose books do not close, with what is missing (or too much, negative)."""
        return {name: account["balance"] for name, account in self.ledger().items() if account["balance"]}

    def serving(self) -> int:
        """Return the process that is ready now, 0 for none: after a hand-over it is no child of the test."""
        return serving_at(self.reports)


class Cadtwistd(Daemon):
    """`twistd cache` on loopback ports, its files under `folder`; every option of carbon.conf may be given.

    Without updates per second or creates per minute in `options` both are unlimited; own metrics are off.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, object] | None = None,
        retentions: str = "60s:1d",
        environ: Mapping[str, str] | None = None,
        name: str = "cadtwist",
    ) -> None:
        self.line, self.pickle, self.query, self.http = free_ports(4)
        self.reports = self.http
        self.conf = folder / "carbon.conf"
        self.whisper = folder / "storage" / "whisper"
        self.wal = folder / "storage" / "wal"
        self.options: dict[str, object] = {
            "STORAGE_DIR": folder / "storage",
            "LOCAL_DATA_DIR": self.whisper,
            "WAL_DIR": self.wal,
            "LINE_RECEIVER_INTERFACE": "127.0.0.1",
            "LINE_RECEIVER_PORT": self.line,
            "UDP_RECEIVER_INTERFACE": "127.0.0.1",
            "UDP_RECEIVER_PORT": self.line,
            "ENABLE_UDP_LISTENER": "True",
            "PICKLE_RECEIVER_INTERFACE": "127.0.0.1",
            "PICKLE_RECEIVER_PORT": self.pickle,
            "CACHE_QUERY_INTERFACE": "127.0.0.1",
            "CACHE_QUERY_PORT": self.query,
            "HTTP_INTERFACE": "127.0.0.1",
            "HTTP_PORT": self.http,
            "MAX_UPDATES_PER_SECOND": "inf",
            "MAX_CREATES_PER_MINUTE": "inf",
            "MAX_CACHE_SIZE": "inf",
            "CARBON_METRIC_INTERVAL": 0,
            "ENABLE_TAGS": "False",
            "LOG_LISTENER_CONN_SUCCESS": "False",
            **(options or {}),
        }
        command = [*RUN_TWISTD, "-n", "--pidfile=", "cache", f"--config={self.conf}"]
        super().__init__(
            name,
            command,
            folder,
            {**_directories(folder), **(environ or {})},
            (self.line, self.pickle, self.query, self.http),
            cwd=ROOT,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.write_conf()
        (folder / "storage-schemas.conf").write_text(SCHEMAS.format(retentions=retentions))
        (folder / "storage-aggregation.conf").write_text(AGGREGATION)

    def write_conf(self, **options: object) -> None:
        """Write carbon.conf anew, with `options` changed."""
        self.options.update(options)
        self.conf.write_text(conf_text("cache", self.options))

    def wait_ready(self, seconds: float) -> None:
        """Wait until all ports accept and the daemon calls itself ready."""
        super().wait_ready(seconds)
        self.until(f"{self.name} is ready", self.ready, seconds)

    def stop(self, seconds: float = 30.0) -> int:
        """Stop it; 0 when it shut down in order (twistd then ends by the signal that asked it to)."""
        code = super().stop(seconds)
        return 0 if code == -signal.SIGTERM and "Server Shut Down" in self.tail() else code

    def ready(self) -> bool:
        """Tell whether it takes datapoints: it answers, and its log is replayed (files may still be listed)."""
        try:
            waits = self.json("/ops/status")["waits"]
        except OSError:
            return False
        return not any("log" in reason for reason in waits)

    @property
    def base(self) -> str:
        """The URL of its HTTP door, without a slash at the end."""
        return f"http://127.0.0.1:{self.http}"

    def logged(self) -> int:
        """Return how many datapoints the write-ahead log had taken when asked."""
        return int(self.ledger()["write-ahead log"]["counters"].get("logged", 0))

    def pending(self) -> int:
        """Return how many datapoints wait for their file."""
        return int(self.ledger()["cache"]["held"])

    def written(self) -> int:
        """Return how many datapoints went to files since the start."""
        return int(self.ledger()["cache"]["out"])

    def replayed(self) -> int:
        """Return how many datapoints the cache got from the write-ahead log."""
        return int(self.ledger()["cache"]["made"])

    def received(self) -> int:
        """Return how many datapoints came into the cache since the start."""
        return int(self.ledger()["cache"]["received"])

    def cache_bytes(self) -> int:
        """Return the memory of the pending datapoints."""
        return int(self.ledger()["cache"]["gauges"]["bytes"])

    def counted(self) -> int:
        """Return how many datapoints came in at any door, those refused for want of room for their names included."""
        return sum(account["received"] + _refused(account) for name, account in self.ledger().items() if ":" in name)

    def names_bytes(self) -> int:
        """Return the memory of the table of metric names."""
        return int(self.ledger()["metric names"]["gauges"]["bytes"])

    def indexed(self) -> int:
        """Return how many names can be found."""
        return int(self.json("/ops/status")["index_names"])

    def datapoints(self, target: str, start: int, until: int) -> dict[int, float]:
        """Return {timestamp: value} of one series as /render has it, nulls left out."""
        query = {"target": target, "from": start, "until": until, "format": "json"}
        answer = self.json("/render", **query)
        return {int(ts): value for series in answer for value, ts in series["datapoints"] if value is not None}

    def send(self, lines: str) -> None:
        """Send graphite lines over a TCP connection of their own; returns when the daemon has read them all."""
        with socket.create_connection(("127.0.0.1", self.line), 10) as connection:
            connection.sendall(lines.encode())
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(30)
            while connection.recv(4096):
                pass


def _refused(account: Mapping[str, Any]) -> int:
    return sum(count for what, count in account["counters"].items() if "table_full" in what)


def _directories(folder: Path) -> dict[str, str]:
    return {
        "GRAPHITE_ROOT": str(folder),
        "GRAPHITE_CONF_DIR": str(folder),
        "GRAPHITE_STORAGE_DIR": str(folder / "storage"),
    }
