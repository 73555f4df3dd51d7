"""A real Redis on a free port, which keeps nothing."""

from __future__ import annotations

from pathlib import Path

from tests.system.environment import program
from tests.system.process import Process, free_ports

__all__ = ["RedisServer"]


class RedisServer(Process):
    """Debian's redis-server; `url` is the address of its database 0, with its password if it has one."""

    def __init__(self, folder: Path, password: str = "") -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}"
        command: list[str | Path] = [
            program("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", folder,
        ]  # fmt: skip
        if password:
            command += ["--requirepass", password]
        super().__init__("redis", command, folder, ports=(self.port,))
