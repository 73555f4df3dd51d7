"""Our own statsd as a process, for one test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Daemon
from tests.system.neighbours import config_js
from tests.system.process import free_ports

__all__ = ["Statsdd"]


class Statsdd(Daemon):
    """`twistd statsd` on loopback: lines over UDP and TCP at `line`, its values to `graphite`, HTTP `http`.

    `more` are further options of config.js, as for `neighbours.NodeStatsd`, `arguments` of the command.
    """

    def __init__(
        self,
        folder: Path,
        graphite: int,
        more: str = "",
        arguments: Sequence[str] = (),
        name: str = "twistd-statsd",
    ) -> None:
        self.line, self.management, self.http = free_ports(3)
        self.reports = self.http
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "config.js"
        conf.write_text(config_js(self.line, self.management, graphite, more))
        command: list[str | Path] = [
            *RUN_TWISTD,
            "-n",
            "--pidfile=",
            "statsd",
            f"--config={conf}",
            f"--http-port={self.http}",
        ]
        command += [f"--state-dir={folder / 'state'}", *arguments]
        super().__init__(name, command, folder, {}, (self.line, self.management, self.http), cwd=ROOT)
