"""Writes docs/options.md and the samples in conf/ from the option tables, so that they cannot drift.

`python -m cadtwist.config.document options|carbon|native|istatd` prints one; a test compares the files with it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from math import inf
from typing import Any, TextIO

from msgspec import NODEFAULT

from cadtwist.config.carbonoptions import GROUPS
from cadtwist.config.carbonrow import CarbonOption
from cadtwist.config.istatdocument import istatd_sample, istatd_table
from cadtwist.config.options import Option, leaves, option, type_name
from cadtwist.config.toml import toml_value

__all__ = ["carbon_sample", "main", "native_sample", "options_document"]

_WIDTH = 110
_LISTS = ("listeners", "schemas", "aggregation", "relays", "destinations", "accumulators")
_OPTIONAL = ("istat.", "health_metrics", "aggregator", "dattss", "statsd.")
_UNSHOWN = (*_LISTS, *_OPTIONAL, "aggregate_rules", "stages.rewrite", "stages.post_rewrite")
_SHARED = {
    "relay": "the options of folders, process, listeners and receiving that [cache] shows",
    "aggregator": "those options of [cache], and how [relay] sends,",
}
_RELAY_SAMPLE = {"DESTINATIONS": "127.0.0.1:2004", "REWRITE_RULES": "unset"}
_USERS = {"C": "cache", "R": "relay", "A": "aggregator", "B": "aggregator-cache"}
_DIFFERENT = (
    "",
    "Where a default differs from carbon's code:",
    "",
    "* `LOG_UPDATES`, `LOG_CREATES`, `LOG_CACHE_HITS` and `LOG_CACHE_QUEUE_SORTS` are off unless the file turns them",
    "  on, as carbon's own sample has it; a line per file update would cost more than the update. So is",
    "  `LOG_AGGREGATOR_MISSES`.",
    "* `MAX_CACHE_SIZE` has no limit, as in carbon, but the memory for pending points (`CACHE_MAX_BYTES`) and for",
    "  names (`METRIC_NAMES_MAX_BYTES`) has one.",
    "* What waits for a destination beyond `MAX_QUEUE_SIZE` goes to disk (`SPOOL_DESTINATION_MAX_BYTES`).",
    "* The write-ahead log is on (`WAL_ENABLED`), below the storage folder.",
    "* A wrong value, or a strategy or database that does not exist, is an error at start, with its line.",
)
_EXAMPLES = """
[[listeners]]                       # graphite's line protocol
protocol = "line"
interface = "0.0.0.0"
port = 2003

[[listeners]]                       # the same, one or more lines in each datagram
protocol = "line"
transport = "udp"
interface = "0.0.0.0"
port = 2003

[[listeners]]                       # lines of local programs
protocol = "line"
transport = "unix"
path = "var/line.sock"

[[listeners]]                       # what relays send
protocol = "pickle"
interface = "0.0.0.0"
port = 2004

[[listeners]]                       # what graphite-web asks (CARBONLINK_HOSTS)
protocol = "cachequery"
interface = "127.0.0.1"
port = 7002

[[listeners]]                       # find, render, health, metrics (CLUSTER_SERVERS)
protocol = "http"
interface = "127.0.0.1"
port = 18011

# [[listeners]]                     # TLS; with client_authority clients must show a certificate of it
# protocol = "line"
# interface = "::"
# port = 2103
# proxy_protocol = true
# tls = { certificate = "server.pem", key = "server.key", client_authority = "clients.pem" }

# [[listeners]]                     # a socket that systemd opened
# protocol = "line"
# transport = "endpoint"
# endpoint = "systemd:domain=INET:index=0"

[[schemas]]                         # the first whose pattern is found in the name counts
name = "own"
pattern = '^carbon\\.'
retentions = "60:90d"

[[schemas]]
name = "default"
pattern = ""
retentions = "10s:6h,1m:7d,10m:1y"

[[aggregation]]                     # what a coarser point is made of; without a match xff 0.5 and average
name = "count"
pattern = '\\.count$'
xff = 0.0
method = "sum"

# [[stages.rewrite]]                # names are rewritten before anything else is decided about them
# pattern = '^old\\.'
# replacement = "new."

# [[destinations]]                  # where a relay sends to
# name = "a"
# host = "10.0.0.1"
# port = 2004
# instance = "a"
# protocol = "pickle"
# queue = { policy = "block", spool_bytes = 1073741824 }

# [[destinations]]
# name = "b"
# host = "10.0.0.2"
# port = 2004
# protocol = "pickle"

# [[relays]]                        # what is received goes through the filters to each of the groups
# name = "main"
# [[relays.filters]]
# kind = "prefix"
# pattern = "debug."
# action = "reject"
# [[relays.groups]]                 # carbon's ring, two copies
# method = "carbon"
# members = ["a", "b"]
# replication = 2

# [aggregator]                      # carbon's; what it makes goes on like what it is made of
# forward_all = true

# [[aggregate_rules]]
# output = "all.<app>.requests"
# frequency = 60
# method = "sum"
# pattern = "servers.*.<app>.requests"

# [istat]                           # istatd's counters: doors, store and forwarding of their own (docs/options.md)
# stat_port = 8111
# http_port = 8000
# store = "var/istatd/store"

# [files]                           # carbon's rule files; their rules come behind those above
# schemas = "storage-schemas.conf"
# aggregation = "storage-aggregation.conf"
# whitelist = "whitelist.conf"
# blacklist = "blacklist.conf"
# rewrite = "rewrite-rules.conf"
# aggregate = "aggregation-rules.conf"
"""


def native_sample() -> str:
    """Return conf/cadtwist.toml: every option with its default and meaning, and examples of the lists."""
    lines = [
        "# Every option of `twistd cadtwist -c FILE`, with its default.  Paths are relative to the working directory,",
        "# `inf` is a number without limit.  What is marked [r] is taken by a running process on SIGHUP; anything else",
        "# needs a restart.",
        "",
    ]
    group = ""
    for path, _, default in leaves():
        head, _, name = path.rpartition(".")
        if path.startswith(_UNSHOWN):
            continue
        if head != group:
            group = head
            lines.append(f"\n[{head}]")
        lines.append(_native_line(name, option(path), default))
    return "\n".join(lines) + "\n" + _EXAMPLES


def _native_line(name: str, row: Option, default: Any) -> str:
    setting = f"# {name} =" if default is None else f"{name} = {toml_value(default)}"
    notes = f"[{row.unit}] " if row.unit else ""
    return f"{setting:<36} # {notes}{row.doc}{' [r]' if row.reloadable else ''}"


def carbon_sample() -> str:
    """Return conf/carbon.conf: every option that has an effect, `[cache]` first, then what other sections have."""
    lines = [
        "# carbon.conf of cadtwist: every option that has an effect, with its default.",
        "# [cache:NAME] overrides [cache] for `--instance NAME`; so do the others.  Options that carbon",
        "# does not know are commented out.  A percent sign is written %%.  See docs/options.md for types and ranges.",
        "",
        "[cache]",
    ]
    lines += _section("C", "")
    for section, letter, without, port in (("relay", "R", "C", 2013), ("aggregator", "A", "CR", 2023)):
        lines += ["", "", f"[{section}]", f"# Beside these, {_SHARED[section]} count here.", ""]
        lines += [f"LINE_RECEIVER_PORT = {port}", f"PICKLE_RECEIVER_PORT = {port + 1}"]
        lines += ["DESTINATIONS = 127.0.0.1:2004"] if section == "aggregator" else []
        lines += _section(letter, without)
    return "\n".join(lines) + "\n"


def _section(letter: str, without: str) -> Iterator[str]:
    """Yield the options of the program `letter` but for those of the programs `without`."""
    for title, rows in GROUPS:
        wanted = [row for row in rows if letter in row.users and not set(without) & set(row.users)]
        shown = [row for row in wanted if not row.reason and not _refused(row)]
        if shown:
            yield from ("", f"# {'-' * 20} {title} {'-' * (_WIDTH - 24 - len(title))}")
        for row in shown:
            yield from _carbon_lines(row, _RELAY_SAMPLE.get(row.name, ""))


def _refused(row: CarbonOption) -> bool:
    return row.effect.startswith("refused")


def _carbon_lines(row: CarbonOption, value: str) -> Iterator[str]:
    value = value or _carbon_default(row)
    active = value and not row.ours and not value.startswith("/")
    active = active and not (row.name.startswith("PROTOBUF") or value == "unset")
    yield ""
    for line in textwrap.wrap(_doc(row), _WIDTH):
        yield f"# {line}"
    yield f"{'' if active else '# '}{row.name} = {'' if value == 'unset' else value}".rstrip()


def _doc(row: CarbonOption) -> str:
    if row.reason:
        return f"no effect: {row.reason}"
    if not row.target:
        return row.effect
    target = option(row.target)
    return f"{target.doc} [{target.unit}]" if target.unit else target.doc


def _defaults() -> dict[str, Any]:
    return {path: default for path, _, default in leaves()}


def _carbon_default(row: CarbonOption) -> str:
    if row.sample or not row.target:
        return row.sample
    value = _defaults()[row.target]
    if value is None or (row.unset and value == inf):
        return "unset"
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def options_document() -> str:
    """Return docs/options.md: both dialects, each option with type, default, range and meaning."""
    lines = [
        "# Options",
        "",
        "Written by `python -m cadtwist.config.document options`; the tables are those that the loaders use.",
        "",
        "`cadtwist check FILE` names every fault of a configuration with file and line; `cadtwist check FILE --print`",
        "shows any dialect as native TOML.  *Reload* says whether a running process takes a new value on SIGHUP.",
        "",
        "## Native TOML",
        "",
        "`twistd cadtwist -c FILE`.  An unknown key is an error.  `inf` is a number without limit.  The keys of",
        "lists such as `[[listeners]]` are shown as `listeners.*`; `[[schemas]]` has `name`, `pattern`, `retentions`,",
        "`priority`; `[[aggregation]]` has `name`, `pattern`, `xff`, `method`; `[[stages.rewrite]]` has `pattern`,",
        "`replacement`; `[[aggregate_rules]]` has `output`, `frequency`, `method`, `pattern`.  `[files]` may name",
        "`schemas`, `aggregation`, `whitelist`, `blacklist`, `rewrite` and `aggregate` files in carbon's form,",
        "relative to the configuration's folder.",
        "",
        "| option | type | default | range | reload | meaning |",
        "|---|---|---|---|---|---|",
        *(_native_row(path, hint, default) for path, hint, default in leaves()),
        "",
        "## carbon.conf, sections `[cache]`, `[relay]`, `[aggregator]`, `[aggregator-cache]`",
        "",
        "`[cache:NAME]` is laid over `[cache]` for `--instance NAME`, and so are the others.  An unknown option is a",
        "warning, a wrong value an error; one of another section has no effect, which a start tells.  `inf` is a",
        "number without limit.  Options marked + are additions that carbon does not know.",
    ]
    lines += _DIFFERENT
    for title, rows in GROUPS:
        lines += [
            "",
            f"### {title}",
            "",
            "| option | of | type | default | native | meaning |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_carbon_row(row) for row in rows]
    lines += [
        "",
        "## istatd.cfg",
        "",
        "`twistd istat -c FILE`, the commands `istatd`, `istatd-server` and `istatd-agent`, and their command line:",
        "lines of `--name value`, `name value` or `name = value`.  Relative `files-dir` and `settings` lie beside the",
        "store.",
        "",
        *istatd_table(),
    ]
    return "\n".join(lines) + "\n"


def _native_row(path: str, hint: Any, default: Any) -> str:
    row = option(path)
    shown = "" if default is NODEFAULT or default is None or path in _LISTS else f"`{toml_value(default)}`"
    kind = type_name(hint).replace("|", "\\|")
    unit = f" {row.unit}" if row.unit else ""
    reload = "yes" if row.reloadable else ""
    return f"| `{path}` | {kind}{unit} | {shown} | {_range(row)} | {reload} | {row.doc} |"


def _range(row: Option) -> str:
    if row.low == -inf:
        return ""
    return f"{row.low:.15g} to {row.high:.15g}" if row.high != inf else f"from {row.low:.15g}"


def _carbon_row(row: CarbonOption) -> str:
    kinds = {"bool": "True or False", "int": "whole number", "float": "number"}
    default = "" if row.reason else _carbon_default(row)
    target = f"`{row.target}`" if row.target else ""
    name = f"`{row.name}`{' +' if row.ours else ''}"
    users = "all" if len(row.users) == len(_USERS) else ", ".join(_USERS[letter] for letter in row.users)
    return f"| {name} | {users} | {kinds.get(row.kind, row.kind)} | {default} | {target} | {_doc(row)} |"


def main(argv: list[str], stdout: TextIO, stderr: TextIO) -> int:
    """Print the document that `argv` names; return the exit status."""
    writers = {
        "options": options_document,
        "carbon": carbon_sample,
        "native": native_sample,
        "istatd": istatd_sample,
    }
    if len(argv) != 1 or argv[0] not in writers:
        stderr.write(f"one of {', '.join(writers)} is expected\n")
        return 2
    stdout.write(writers[argv[0]]())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], sys.stdout, sys.stderr))
