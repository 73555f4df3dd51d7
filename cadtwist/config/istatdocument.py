"""istatd's options for people: the sample conf/istatd.cfg and a table, both written from the option table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cadtwist.config.istatmodel import IstatConfig, IstatdProcess
from cadtwist.config.istatoptions import ISTATD_OPTIONS, PROCESS, IstatdOption, option_named

__all__ = ["istatd_sample", "istatd_table"]

_SET = {
    "stat-port": "18001",
    "http-port": "18011",
    "admin-port": "18031",
    "store": "./var/istatd/store",
    "files-dir": "files",
    "settings": "settings",
}
"""What the sample sets."""

_SHOWN = {
    "agent": "istatd-master:18001",
    "replica-of": "istatd-master:18021",
    "shard": "a=127.0.0.1:18041,18011",
    "shard-name": "a",
    "shard-port": "18041",
    "local-stats": "^host.web1^class.web",
    "blacklist-path": "/etc/istatd.blacklist",
    "tagnames-path": "/etc/istatd.tagnames",
    "user": "istatd",
    "log-file": "/var/log/istatd.log",
    "pid-file": "/run/istatd.pid",
    "debug": "http,admin",
}
"""What the sample shows as examples, commented out, in place of empty defaults."""

_HEAD = """# A counter daemon: twistd -n istat -c conf/istatd.cfg
#
# A line is `--name value`; `name value` and `name = value` mean the same, and so does the command line, which wins.
# Lines that begin with # are not read.  An option that is commented out shows its default, or an example.
"""
_GROUPS = (
    ("Doors; 0 closes one.  They listen on every IPv4 address unless listen-address says otherwise.",
     ("listen-address", "stat-port", "http-port", "admin-port", "replica-port", "prometheus-port",
      "listen-overflow-backlog", "udp-buffer-size")),
    ("""The store: a folder per counter below it.  Beside it lie <store>.log, what waits to be written, and
# <store>.bak, what was deleted.""",
     ("store", "retention", "flush", "prune-empty-directories-interval", "dont-recursively-create-counters",
      "allocation-strategy", "min-space", "rollup", "num-files")),
    ("Forwarding; what cannot be sent waits in memory, then in <store>.spool.",
     ("agent", "agentCount", "agent-interval", "compat")),
    ("""Replication: the store of a replica becomes that of its master, and stays so.  It takes no samples of its own,
# and answers as its master does.  Started without replica-of, it goes on where its master was.""",
     ("replica-of",)),
    ("""Sharding: several stores share the counters by consistent hash; samples and questions may go to any of them.
# All are given the same shards.  A daemon without store and shard-name keeps nothing and answers for all.""",
     ("shard", "shard-name", "shard-port", "shard-copies", "shard-timeout")),
    ("What the daemon tells of its machine, every five seconds, and of itself.", ("local-stats", "no-self-counters")),
    ("What HTTP shows.  Relative folders are looked for beside the store.",
     ("files-dir", "settings", "disallow-compressed-responses")),
    ("Who is not let in: a file of host names, one a line.", ("blacklist-path", "blacklist-period")),
    ("What Prometheus sees.",
     ("dont-translate-metric-names", "tagnames-path", "max-matrics-count", "metrics-cleanup-period")),
    ("The process.  daemonize is for the commands istatd, istatd-server and istatd-agent: twistd has --nodaemon.",
     ("user", "log-file", "log-level", "daemonize", "pid-file", "debug")),
    ("For tests: a clock that stands still, until the admin command faketime.", ("fake-time",)),
)  # fmt: skip


def istatd_sample() -> str:
    """Return conf/istatd.cfg: every option that has an effect, with its default and meaning."""
    lines = [_HEAD]
    for title, names in _GROUPS:
        lines.append(f"# {title}\n")
        for name in names:
            option = option_named(name)
            if option is None:
                raise KeyError(name)
            unit = f" [{option.unit}]" if option.unit else ""
            lines += [f"# {option.doc}{unit}", _line(option), ""]
    return "\n".join(lines)


def _line(option: IstatdOption) -> str:
    if option.name in _SET:
        return f"--{option.name} {_SET[option.name]}"
    if option.kind == "flag":
        return f"#--{option.name}"
    return f"#--{option.name} {_SHOWN.get(option.name) or _default(option)}"


def _default(option: IstatdOption) -> str:
    """Return an option's default as the file writes it."""
    holder: Any = IstatdProcess() if option.field.startswith(PROCESS) else IstatConfig()
    value = getattr(holder, option.field.removeprefix(PROCESS))
    if option.name == "allocation-strategy":
        return "1"
    if isinstance(value, int) and option.factor > 1:
        return str(value // option.factor)
    return ",".join(value) if isinstance(value, tuple) else str(value) or '""'


def istatd_table() -> Iterator[str]:
    """Yield the lines of a table of all options."""
    yield "| option | default | unit | native | meaning |"
    yield "|---|---|---|---|---|"
    own = {"files-dir": "files", "settings": "/tmp"}  # noqa: S108 (istatd's default)
    for option in ISTATD_OPTIONS:
        shown = "" if option.kind == "flag" or not option.field else f"`{own.get(option.name) or _default(option)}`"
        native = "" if not option.field else f"`istat.{option.field}`"
        if option.field.startswith(PROCESS):
            native = {"user": "`user`", "pid_file": "`processes.pid_file`"}.get(option.field.removeprefix(PROCESS), "")
        names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
        doc = option.doc if option.field else f"no effect: {option.doc}"
        yield f"| {names} | {shown} | {option.unit} | {native} | {doc} |"
