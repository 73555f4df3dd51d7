"""Metric names from the paths of a tree of whisper files, of ceres nodes, or of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from cadtwist.kernels.ceresformat import NODE_FILE

__all__ = ["SUFFIX", "likely_paths", "metric_of", "walk_tree"]

SUFFIX = ".wsp"
ZIPPED = ".gz"
SUFFIXES = (SUFFIX, SUFFIX + ZIPPED)
"""The ends of the names of whisper files, as they are or compressed."""

_TAGGED = "_tagged"
_NODE = NODE_FILE.decode()


def metric_of(relative: str) -> str | None:
    """Return the metric whose file lies at a path below the root; None where no metric's file can lie there.

    A tagged metric whose file is named by a hash is called by that path, `_tagged.<3>.<3>.<hash>`, as graphite-web
    calls it: its own name cannot be told from the hash.
    """
    folder, leaf = os.path.split(relative)
    if not leaf.endswith(SUFFIX) or relative.startswith(("/", "../")) or not _is_text(relative):
        return None
    if "." in folder:
        return None
    return _metric(folder.replace(os.sep, ".") + "." if folder else "", leaf[: -len(SUFFIX)])


def likely_paths(folder: bytes, name: str, relative: Callable[[bytes, bool], bytes], hashed: bool) -> list[bytes]:
    """Return where a metric may lie in `folder` (with its slash), the likelier first; nowhere for an impossible name.

    `relative(name, hashed)` is the kernel's: tagged metrics are named by their hash (`hashed`: the likelier) or not.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    paths = []
    for by_hash in (hashed, not hashed) if ";" in name else (True,):
        try:
            paths.append(folder + relative(encoded, by_hash))
        except ValueError:
            continue
    return paths


def walk_tree(root: str, names: int = 1000, files: bool = True, nodes: bool = True) -> Iterator[list[str]]:
    """Yield the metrics of all whisper `files` and ceres `nodes` below `root` in lists of `names` (the last: the rest).

    One that is both comes twice.  Symbolic links to folders are followed, each folder once.  Folders that vanish or
    cannot be read are passed over.
    """
    found: list[str] = []
    waiting = [(root, "")]
    linked = {_identity(os.stat(root))} if os.path.isdir(root) else set()
    while waiting:
        folder, prefix = waiting.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue
        with entries:
            for entry in entries:
                leaf = entry.name
                if (files and leaf.endswith(SUFFIXES)) or (nodes and leaf == _NODE):
                    metric = _node(prefix) if leaf == _NODE else _metric(prefix, leaf.removesuffix(ZIPPED)[:-4])
                    if metric is not None and (metric.isascii() or _is_text(metric)):
                        found.append(metric)
                        if len(found) >= names:
                            yield found
                            found = []
                elif _is_new_folder(entry, linked):
                    waiting.append((entry.path, f"{prefix}{leaf}."))
    if found:
        yield found


def _metric(prefix: str, stem: str) -> str | None:
    if prefix.startswith(_TAGGED + ".") and ";" in stem:
        return stem.replace("_DOT_", ".")
    return None if "." in stem else prefix + stem


def _node(prefix: str) -> str | None:
    """Return the metric whose node a folder is; None for the root."""
    above, _, leaf = prefix[:-1].rpartition(".")
    return _metric(f"{above}." if above else "", leaf) if leaf else None


def _is_new_folder(entry: os.DirEntry[str], linked: set[tuple[int, int]]) -> bool:
    try:
        if "." in entry.name or not entry.is_dir():
            return False
        if not entry.is_symlink():
            return True
        found = entry.stat()
    except OSError:
        return False
    key = _identity(found)
    if key in linked:
        return False
    linked.add(key)
    return True


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
