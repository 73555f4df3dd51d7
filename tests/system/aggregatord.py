"""Our own aggregator as a process: `twistd aggregator` with a carbon.conf, for one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Daemon, conf_text
from tests.system.process import free_ports

__all__ = ["Aggregatord"]


class Aggregatord(Daemon):
    """Lines at `line`, HTTP at `http`; `rules` is the rules file, lines go to `destination` (a port)."""

    def __init__(self, folder: Path, destination: int, rules: str, options: Mapping[str, object] | None = None) -> None:
        self.line, self.http = free_ports(2)
        self.reports = self.http
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "aggregation-rules.conf").write_text(rules)
        mine = {
            "LINE_RECEIVER_INTERFACE": "127.0.0.1",
            "LINE_RECEIVER_PORT": self.line,
            "PICKLE_RECEIVER_PORT": 0,
            "HTTP_INTERFACE": "127.0.0.1",
            "HTTP_PORT": self.http,
            "CARBON_METRIC_INTERVAL": 0,
            "DESTINATIONS": f"127.0.0.1:{destination}:a",
            "DESTINATION_PROTOCOL": "line",
            "STORAGE_DIR": folder / "storage",
            "CONF_DIR": folder,
            **(options or {}),
        }
        conf = folder / "carbon.conf"
        conf.write_text(conf_text("aggregator", mine))
        command = [*RUN_TWISTD, "-n", f"--pidfile={folder / 'pid'}", "aggregator", f"--config={conf}"]
        environ = {"GRAPHITE_ROOT": str(folder), "GRAPHITE_CONF_DIR": str(folder)}
        super().__init__("twistd-aggregator", command, folder, environ, (self.line, self.http), cwd=ROOT)
