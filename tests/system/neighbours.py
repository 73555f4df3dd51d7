"""carbon and graphite-web from the package registry, statsd from npm, and Debian's carbon-c-relay, as processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.system.cadtwistd import AGGREGATION, SCHEMAS, conf_text, get
from tests.system.environment import ROOT, program
from tests.system.environment import folder as neighbours_folder
from tests.system.process import NotReady, Process, free_ports

__all__ = [
    "CRelay",
    "CarbonAggregator",
    "CarbonCache",
    "CarbonRelay",
    "GoCarbon", "GraphiteApi",
    "GraphiteWeb",
    "NodeStatsd",
    "config_js",
]


class _Carbon(Process):
    def __init__(
        self, daemon: str, folder: Path, options: Mapping[str, object], retentions: str, more_ports: Sequence[int] = ()
    ) -> None:
        self.line, self.pickle, self.query, self.protobuf = free_ports(4)
        conf = folder / "carbon.conf"
        all_options = {
            "LINE_RECEIVER_INTERFACE": "127.0.0.1",
            "LINE_RECEIVER_PORT": self.line,
            "UDP_RECEIVER_INTERFACE": "127.0.0.1",
            "PICKLE_RECEIVER_INTERFACE": "127.0.0.1",
            "PICKLE_RECEIVER_PORT": self.pickle,
            "PROTOBUF_RECEIVER_INTERFACE": "127.0.0.1",
            "PROTOBUF_RECEIVER_PORT": self.protobuf,
            "CACHE_QUERY_INTERFACE": "127.0.0.1",
            "CACHE_QUERY_PORT": self.query,
            "CARBON_METRIC_INTERVAL": 0,
            "LOG_LISTENER_CONN_SUCCESS": "False",
            "LOG_UPDATES": "False",
            "LOG_CREATES": "False",
            "ENABLE_TAGS": "False",
            **options,
        }
        (folder / "storage" / "log").mkdir(parents=True)
        (folder / "storage" / "whisper").mkdir(parents=True)
        conf.write_text(conf_text(daemon, all_options))
        (folder / "storage-schemas.conf").write_text(SCHEMAS.format(retentions=retentions))
        (folder / "storage-aggregation.conf").write_text(AGGREGATION)
        self.whisper = folder / "storage" / "whisper"
        command: list[str | Path] = [
            program("carbon", "python"),
            program("carbon", f"carbon-{daemon}.py"),
            "--nodaemon",
            f"--config={conf}",
            f"--pidfile={folder / 'pid'}",
            f"--logdir={folder}",
            "start",
        ]
        environ = {
            "GRAPHITE_ROOT": str(folder),
            "GRAPHITE_CONF_DIR": str(folder),
            "GRAPHITE_STORAGE_DIR": str(folder / "storage"),
            "PYTHONPATH": "",
        }
        super().__init__(f"carbon-{daemon}", command, folder, environ, (self.line, self.pickle, *more_ports))


class CarbonCache(_Carbon):
    """The reference: what carbon's own cache makes of the same input."""

    def __init__(self, folder: Path, options: Mapping[str, object] | None = None, retentions: str = "60s:1d") -> None:
        unlimited = {"MAX_UPDATES_PER_SECOND": "inf", "MAX_CREATES_PER_MINUTE": "inf", "MAX_CACHE_SIZE": "inf"}
        super().__init__("cache", folder, {**unlimited, **(options or {})}, retentions)


class CarbonRelay(_Carbon):
    """carbon's relay in front of `destinations` (host:port:instance), speaking pickle unless told otherwise."""

    def __init__(self, folder: Path, destinations: Sequence[str], options: Mapping[str, object] | None = None) -> None:
        mine = {
            "RELAY_METHOD": "consistent-hashing",
            "DESTINATIONS": ", ".join(destinations),
            "DESTINATION_PROTOCOL": "pickle",
            "MAX_QUEUE_SIZE": 1000000,
        }
        super().__init__("relay", folder, {**mine, **(options or {})}, "60s:1d")


class CarbonAggregator(_Carbon):
    """carbon's aggregator: `rules` is its rules file, lines go to `destination` (a port)."""

    def __init__(self, folder: Path, destination: int, rules: str, options: Mapping[str, object] | None = None) -> None:
        mine = {
            "DESTINATIONS": f"127.0.0.1:{destination}:a",
            "DESTINATION_PROTOCOL": "line",
            "MAX_QUEUE_SIZE": 1000000,
        }
        super().__init__("aggregator", folder, {**mine, **(options or {})}, "60s:1d")
        (folder / "aggregation-rules.conf").write_text(rules)


class CRelay(Process):
    """carbon-c-relay, one worker thread; `routes` is its configuration: clusters and matches."""

    def __init__(self, folder: Path, routes: str, name: str = "c-relay") -> None:
        (self.line,) = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "relay.conf"
        conf.write_text(routes)
        command: list[str | Path] = [program("carbon-c-relay", "carbon-c-relay"), "-f", conf, "-p", str(self.line)]
        command += ["-w", "1", "-q", "1000000", "-s"]
        super().__init__(name, command, folder, {}, (self.line,))


def config_js(port: int, management: int, graphite: int, more: str = "") -> str:
    """Return a config.js for loopback: `port` for datagrams and streams; `more` are further lines with their commas."""
    kinds = ("udp", "tcp")
    doors = ", ".join(f"{{server: './servers/{kind}', address: '127.0.0.1', port: {port}}}" for kind in kinds)
    return (
        f"{{\n  servers: [{doors}],\n  mgmt_address: '127.0.0.1', mgmt_port: {management},\n"
        f"  graphiteHost: '127.0.0.1', graphitePort: {graphite},\n{more}\n}}\n"
    )


class NodeStatsd(Process):
    """statsd from npm: lines over UDP and TCP at `line`, its values to `graphite`; `more` are options of config.js."""

    def __init__(self, folder: Path, graphite: int, more: str = "") -> None:
        self.line, self.management = free_ports(2)
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "config.js"
        conf.write_text(config_js(self.line, self.management, graphite, more))
        script = neighbours_folder() / "statsd" / "node_modules" / "statsd" / "stats.js"
        super().__init__("statsd", ["node", script, conf], folder, {}, (self.line, self.management))


_SETTINGS = """SECRET_KEY = 'test'
ALLOWED_HOSTS = ['*']
WHISPER_DIR = '{whisper}'
STANDARD_DIRS = {standard!r}
LOG_DIR = '{folder}/log'
INDEX_FILE = '{folder}/index/index'
LOG_ROTATION = False
CARBONLINK_HOSTS = {carbonlink!r}
CLUSTER_SERVERS = {cluster!r}
MEMCACHE_HOSTS = []
TIME_ZONE = 'UTC'
DATABASES = {{'default': {{'NAME': '{folder}/db', 'ENGINE': 'django.db.backends.sqlite3'}}}}
FIND_CACHE_DURATION = 0
DEFAULT_CACHE_DURATION = 0
REMOTE_RETRY_DELAY = 1
TAGDB = ''
"""

_FINDER_SETTINGS = """STORAGE_FINDERS = ('cadent.CadentFinder',)
CADENT_URLS = {urls!r}
CADENT_TIMEZONE = 'UTC'
"""


def _gunicorn(neighbour: str, port: int, application: str) -> list[str | Path]:
    """Return the command that serves a WSGI application by one process with four threads."""
    command: list[str | Path] = [program(neighbour, "python"), "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    return [*command, "--workers=1", "--worker-class=gthread", "--threads=4", application]


def _with_our_finder() -> str:
    """Return what a PYTHONPATH needs for our finder, under Cadent's name as well."""
    return os.pathsep.join((str(ROOT), str(ROOT / "cadtwist" / "shims")))


class GraphiteWeb(Process):
    """graphite-web under gunicorn.

    It reads files of `whisper` and asks `carbonlink` (host:port:instance each) for hot points, or asks the servers
    of `cluster` (host:port each) for everything, or our finder, which asks `urls`.  Of a tree `ceres` it reads the
    nodes, by a library in the folder `path`.
    """

    def __init__(
        self,
        folder: Path,
        whisper: Path | None = None,
        carbonlink: Sequence[str] = (),
        cluster: Sequence[str] = (),
        urls: Sequence[str] = (),
        ceres: Path | None = None,
        path: str = "",
    ) -> None:
        (self.http,) = free_ports(1)
        for each in ("log", "index", "empty"):
            (folder / each).mkdir(parents=True)
        settings = _SETTINGS.format(
            folder=folder,
            whisper=whisper or folder / "empty",
            standard=[str(whisper)] if whisper else [],
            carbonlink=list(carbonlink),
            cluster=list(cluster),
        )
        if urls:
            settings += _FINDER_SETTINGS.format(urls=list(urls))
        if ceres is not None:
            settings += f"CERES_DIR = '{ceres}'\nSTORAGE_FINDERS = ['graphite.finders.ceres.CeresFinder']\n"
        (folder / "graphite_test_settings.py").write_text(settings)
        environ = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), _with_our_finder(), path))),
            "DJANGO_SETTINGS_MODULE": "graphite.settings",
            "GRAPHITE_SETTINGS_MODULE": "graphite_test_settings",
        }
        command = _gunicorn("graphite-web", self.http, "graphite.wsgi")
        super().__init__("graphite-web", command, folder, environ, (self.http,))

    def start(self, seconds: float = 60.0) -> None:
        """Make its database, then start it."""
        command = [str(program("graphite-web", "django-admin")), "migrate", "--run-syncdb", "-v", "0"]
        done = subprocess.run(command, env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotReady(f"graphite-web's database cannot be made:\n{done.stderr[-2000:]}")
        super().start(seconds)

    def ask(self, path: str) -> bytes:
        """Return the body of its answer to GET `path`."""
        return get(f"http://127.0.0.1:{self.http}{path}")


_GO_CARBON = """[common]
user = ""
metric-interval = "1h"
max-cpu = 1
[whisper]
data-dir = "{folder}/whisper"
schemas-file = "{folder}/storage-schemas.conf"
aggregation-file = "{folder}/storage-aggregation.conf"
workers = 1
enabled = true
[udp]
enabled = false
[tcp]
listen = "127.0.0.1:{line}"
enabled = true
[pickle]
enabled = false
[carbonlink]
enabled = false
[grpc]
enabled = false
[carbonserver]
listen = "127.0.0.1:{http}"
enabled = true
scan-frequency = "1s"
trigram-index = true
[[logging]]
logger = ""
file = "stderr"
level = "error"
"""


class GoCarbon(Process):
    """go-carbon with its carbonserver; nothing builds it for tests: `python tests/system/environment.py go-carbon`."""

    def __init__(self, folder: Path) -> None:
        self.line, self.http = free_ports(2)
        (folder / "whisper").mkdir(parents=True)
        conf = folder / "go-carbon.conf"
        conf.write_text(_GO_CARBON.format(folder=folder, line=self.line, http=self.http))
        (folder / "storage-schemas.conf").write_text(SCHEMAS.format(retentions="60s:1d"))
        (folder / "storage-aggregation.conf").write_text(AGGREGATION)
        command: list[str | Path] = [program("go-carbon", "go-carbon"), "-config", conf]
        super().__init__("go-carbon", command, folder, {}, (self.line, self.http))

    def send(self, lines: str) -> None:
        """Send graphite lines over a connection of their own."""
        with socket.create_connection(("127.0.0.1", self.line), 10) as connection:
            connection.sendall(lines.encode())


_API_CONFIG = """search_index: {folder}/index
time_zone: UTC
finders:
  - cadent.CadentFinder
cadent:
  urls: {urls}
"""


class GraphiteApi(Process):
    """graphite-api under gunicorn, with our finder, which asks `urls`."""

    def __init__(self, folder: Path, urls: Sequence[str]) -> None:
        (self.http,) = free_ports(1)
        folder.mkdir(parents=True)
        config = folder / "graphite-api.yaml"
        config.write_text(_API_CONFIG.format(folder=folder, urls=list(urls)))
        environ = {"PYTHONPATH": _with_our_finder(), "GRAPHITE_API_CONFIG": str(config)}
        command = _gunicorn("graphite-api", self.http, "graphite_api.app:app")
        super().__init__("graphite-api", command, folder, environ, (self.http,))

    def ask(self, path: str) -> bytes:
        """Return the body of its answer to GET `path`."""
        return get(f"http://127.0.0.1:{self.http}{path}")
