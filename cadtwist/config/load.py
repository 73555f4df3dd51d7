"""One door for every dialect: a path in, a Config or every fault out.

Only here files are opened, and only by the `read` callable, which tests replace.  The loaders of dialects that are
nobody's default are imported when such a file is there.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from cadtwist.config.carbon import CarbonSource, default_paths, expanded, load_carbon, programs_of
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config
from cadtwist.config.native import load_native
from cadtwist.config.statefolder import state_folder
from cadtwist.errors import ConfigError

__all__ = ["DIALECTS", "Examined", "Loaded", "examine", "load", "programs_in", "read_file", "recognised"]

Read = Callable[[str], str]
DIALECTS = ("carbon", "statsrelay", "cadent", "statsd-proxy", "istatd", "native")
MAX_FILE_BYTES = 64 << 20
_PROXY_NODES = re.compile(r"""(?:^|[{,])\s*["']?nodes["']?\s*:""", re.MULTILINE)
_CADENT_DEFAULT = re.compile(r"^\s*\[default\]\s*(#.*)?$", re.MULTILINE)
_ISTATD_OPTION = re.compile(r"^\s*--(store|agent|stat-port)\s", re.MULTILINE)
_CARBON_SECTION = re.compile(r"^\[(cache|relay|aggregator|aggregator-cache)(:[^\]]*)?\]\s*$", re.MULTILINE)


class Loaded(Struct, frozen=True):
    """A Config and what is to be said of it, each as `file:line: option: text`.

    `files` are all paths that were read or looked for: what a watch has to look at.
    """

    config: Config
    warnings: tuple[str, ...]
    notices: tuple[str, ...]
    path: str
    dialect: str
    files: tuple[str, ...]


class Examined(Struct, frozen=True):
    """`loaded` is None when there are errors among the problems."""

    loaded: Loaded | None
    problems: Problems


def load(
    path: str | None,
    *,
    dialect: str | None = None,
    program: str = "",
    instance: str = "a",
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    read: Read | None = None,
) -> Loaded:
    """Return the configuration at `path`, or raise `ConfigError` with every fault of it.

    `dialect` is one of `DIALECTS`, or None: recognised by name and text.  `path` None is carbon's default path.
    `program` says whose section of carbon.conf is meant (`carbon-relay`); empty = the cache's, else the first that is
    there.  `instance` names the instance where the file does not.  `overrides` are what the command line gives in
    place of the file: carbon's `logdir`, `whitelist`, `blacklist`, `rules`, `rewrite_rules`, `aggregation_rules`;
    statsrelay's `pid_file`, Cadent's `prereg`.  `arguments` are istatd's own, which win over its file; an empty `path`
    with the dialect istatd: there is no file.
    """
    examined = examine(
        path,
        dialect=dialect,
        program=program,
        instance=instance,
        environ=environ,
        overrides=overrides,
        arguments=arguments,
        read=read,
    )
    examined.problems.raise_errors()
    if examined.loaded is None:
        raise ConfigError([f"{path}: cannot be loaded"])
    return examined.loaded


def examine(
    path: str | None,
    *,
    dialect: str | None = None,
    program: str = "",
    instance: str = "a",
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    read: Read | None = None,
) -> Examined:
    """Like `load`, with the problems as values in place of an exception."""
    problems = Problems()
    reader = _Reader(read or read_file)
    no_file = dialect == "istatd" and path == ""
    found = ("istatd.cfg", "") if no_file else _first_text(path, environ, reader, problems)
    if found is None:
        return Examined(None, problems)
    path, text = found
    dialect = dialect or recognised(path, text)
    if dialect == "carbon":
        program = program or next(iter(programs_of(text)), "carbon-cache")
        source = CarbonSource(path=path, environ=environ, instance=instance, program=program, **dict(overrides or {}))
        config = load_carbon(text, source, reader.read, problems)
    elif dialect == "statsrelay":
        from cadtwist.config.statsrelay import load_statsrelay  # noqa: PLC0415 (only for its dialect)

        config = load_statsrelay(text, path, problems, instance, (overrides or {}).get("pid_file", ""))
    elif dialect == "cadent":
        from cadtwist.config.cadent import load_cadent  # noqa: PLC0415 (only for its dialect)

        prereg = _prereg((overrides or {}).get("prereg", ""), environ, reader, problems)
        user = os.geteuid()
        config = load_cadent(text, path, problems, prereg, instance, lambda name: state_folder(environ, name, user))
    elif dialect == "statsd-proxy":
        from cadtwist.config.statsdproxy import load_statsd_proxy  # noqa: PLC0415 (only for its dialect)

        config = load_statsd_proxy(text, path, problems, instance)
    elif dialect == "istatd":
        from cadtwist.config.istatd import load_istatd  # noqa: PLC0415 (only for its dialect)

        config = load_istatd(text, path, arguments, problems)
    elif dialect == "native":
        config = load_native(text, path, reader.read, problems, instance)
        config = _overridden(config, overrides or {})
    else:
        problems.error(path, 0, "", f"not recognised as one of the dialects {', '.join(DIALECTS)}")
    if problems.failed:
        return Examined(None, problems)
    remarks = (tuple(problems.texts("warning")), tuple(problems.texts("notice")))
    return Examined(Loaded(config, *remarks, path, dialect, tuple(reader.files)), problems)


def recognised(path: str, text: str) -> str:
    """Return the dialect of a file by its name, else by its text; empty if it is none that is known."""
    if path.endswith(".toml"):
        return "cadent" if _CADENT_DEFAULT.search(text) else "native"
    if path.endswith(".js") and _PROXY_NODES.search(text):
        return "statsd-proxy"
    if path.endswith(".json") or (text.lstrip("\ufeff \t\r\n").startswith("{") and not path.endswith(".js")):
        return "statsrelay"
    if path.endswith(".cfg") or _ISTATD_OPTION.search(text):
        return "istatd"
    if posixpath.basename(path) == "carbon.conf" or _CARBON_SECTION.search(text):
        return "carbon"
    return ""


def programs_in(path: str, dialect: str | None = None, read: Read | None = None) -> tuple[str, ...]:
    """Return the programs of which a carbon.conf has sections; none where it cannot be read, or is another dialect."""
    try:
        text = (read or read_file)(path)
    except (OSError, ValueError):
        return ()
    return programs_of(text) if (dialect or recognised(path, text)) == "carbon" else ()


def read_file(path: str) -> str:
    """Return a file's text (UTF-8); OSError or UnicodeDecodeError if that cannot be."""
    with open(path, "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"larger than {MAX_FILE_BYTES} bytes")
    return content.decode("utf-8")


class _Reader:
    """Remembers which files were asked for."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.files: list[str] = []

    def read(self, path: str) -> str:
        self.files.append(path)
        return self._read(path)


def _prereg(path: str, environ: Mapping[str, str], reader: _Reader, problems: Problems) -> tuple[str, str] | None:
    """Return path and text of Cadent's PreReg file; None where none is asked for, or, noted, it cannot be read."""
    if not path:
        return None
    path = expanded(path, environ)
    try:
        return path, reader.read(path)
    except (OSError, ValueError) as error:
        problems.error(path, 0, "", f"cannot be read: {error}")
        return None


def _first_text(
    path: str | None, environ: Mapping[str, str], reader: _Reader, problems: Problems
) -> tuple[str, str] | None:
    """Return the first of the candidate paths that exists, with its text; else note one error."""
    candidates = default_paths(environ) if path is None else [expanded(path, environ)]
    if not candidates:
        text = "no configuration: give --config, or set GRAPHITE_CONF_DIR or GRAPHITE_ROOT in the environment"
        problems.error("carbon.conf", 0, "", text)
    for candidate in candidates:
        try:
            return candidate, reader.read(candidate)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.error(candidate, 0, "", f"cannot be read: {error}")
            return None
    if candidates:
        problems.error(candidates[-1], 0, "", f"no configuration there; tried: {', '.join(candidates)}")
    return None


def _overridden(config: Config, overrides: Mapping[str, str]) -> Config:
    logdir = overrides.get("logdir")
    return replace(config, log=replace(config.log, directory=logdir)) if logdir else config
