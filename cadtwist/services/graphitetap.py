"""The twistd row `graphite`: a read-only API over existing trees, from the configuration of whoever writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from twisted.application.service import IService
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

from cadtwist.config.load import Loaded
from cadtwist.config.model import Config, Listener, StorageConfig
from cadtwist.errors import ConfigError
from cadtwist.services.options import EXIT_CONFIG, loader, make

__all__ = ["PROGRAM", "Options", "makeService", "reader_of"]

PROGRAM = "graphite"
_PORT_MAX = 65535


class Options(TwistedOptions):
    """What `twistd graphite` understands."""

    optParameters = [
        ["config", "c", None, "carbon.conf ([cache]) or native TOML (default: conf/carbon.conf under GRAPHITE_ROOT)"],
        ["instance", None, "a", "name of this instance: section [cache:<name>] of carbon.conf, log and pid file"],
        ["logdir", None, None, "folder of the log files (default: from the configuration)"],
        ["interface", None, None, "address to listen on, in place of the configuration's HTTP listeners"],
        ["port", "p", None, "port to listen on, in place of the configuration's HTTP listeners"],
    ]

    def postOptions(self) -> None:
        """Refuse a port that is none."""
        port = self["port"]
        if port is not None and not (port.isdecimal() and 0 < int(port) <= _PORT_MAX):
            raise UsageError(f"--port: {port} is no port")
        if self["interface"] is not None and port is None:
            raise UsageError("--interface: needs --port")


def makeService(options: Any) -> IService:
    """Return the service for `options`; a faulty configuration exits with 2."""
    load_again = loader(options, None)

    def again() -> Loaded:
        loaded = load_again()
        return replace(loaded, config=reader_of(loaded, options))

    return make(again, options, EXIT_CONFIG)


def reader_of(loaded: Loaded, options: Mapping[str, Any]) -> Config:
    """Return of a configuration what concerns reading; ConfigError where nobody could ask."""
    config = loaded.config
    doors = config.listeners_of("http")
    if options.get("port"):
        interface = options.get("interface") or "0.0.0.0"  # noqa: S104 (as all listeners by default)
        doors = (Listener(protocol="http", interface=interface, port=int(options["port"])),)
    if not doors:
        text = "there is no listener for HTTP (HTTP_PORT, or [[listeners]] of protocol http): give --port"
        raise ConfigError([f"{loaded.path}: {text}"])
    if config.storage.kind == "memory":
        raise ConfigError([f"{loaded.path}: storage.kind: memory is nothing that another process could read"])
    storage = _with_counters(config, loaded.dialect)
    return Config(
        program=PROGRAM,
        instance=config.instance,
        user=config.user,
        pid_directory=config.pid_directory,
        listeners=doors,
        limits=config.limits,
        tcp=config.tcp,
        names=config.names,
        storage=replace(storage, read_only=True),
        schemas=config.schemas,
        aggregation=config.aggregation,
        tags=config.tags,
        web=config.web,
        cluster=config.cluster,
        self_metrics=replace(config.self_metrics, interval_s=0.0),
        log=replace(config.log, directory=_log_folder(loaded, options)),
        reload=config.reload,
    )


def _with_counters(config: Config, dialect: str) -> StorageConfig:
    """Return the folders to read, with that of istatd's counters: beside others, or alone where it is istatd's file."""
    storage, store = config.storage, config.istat.store if config.istat is not None else ""
    if not store:
        return storage
    if dialect == "istatd":
        return replace(storage, root=store)
    return replace(storage, read_also=(*storage.read_also, store))


def _log_folder(loaded: Loaded, options: Mapping[str, Any]) -> str:
    """Return a folder beside that of the process which writes: a log has one writer."""
    folder = loaded.config.log.directory
    if loaded.dialect != "carbon" or not folder:
        return folder
    beside = os.path.dirname(folder) if not options.get("logdir") else folder
    return os.path.join(beside, f"{PROGRAM}-{loaded.config.instance}")
