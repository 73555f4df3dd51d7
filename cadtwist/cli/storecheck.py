"""`cadtwist check --store`: which existing files keep something else than the schemas say."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TextIO

from cadtwist.cli import check
from cadtwist.config.model import Config
from cadtwist.kernels.ceresformat import CorruptNodeError, relative_folder
from cadtwist.kernels.whisperformat import (
    ARCHIVE_INFO,
    MAX_ARCHIVES,
    METADATA,
    CorruptFileError,
    parse_header,
    relative_path,
)
from cadtwist.model.retention import Archive
from cadtwist.storage.ceresread import read_node
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.tree import walk_tree

__all__ = ["differing_files", "file_archives", "node_archives", "run", "shown_archives"]

_HEAD_BYTES = METADATA.size + ARCHIVE_INFO.size * MAX_ARCHIVES


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Run `cadtwist check`, with `--store` able to read files."""
    return check.run(argv, stdout, environ, differing_files)


def differing_files(config: Config) -> Iterator[str]:
    """Yield a line for each file of the store that cannot be read or whose archives are not its schema's.

    Files of tagged metrics are passed over when their names are hashes: the metric cannot be told from them.
    """
    storage = config.storage
    if storage.kind == "whisper":
        names, place, read = walk_tree(storage.root, nodes=False), relative_path, file_archives
    elif storage.kind == "ceres":
        names, place, read = walk_tree(storage.root, files=False), relative_folder, node_archives
    else:
        return
    table = SchemaTable(config.schemas, config.aggregation)
    for name in chain.from_iterable(names):
        if name.startswith("_tagged."):
            continue  # a hash
        below = place(name.encode("utf-8"), storage.hash_tagged_names)
        path = os.path.join(storage.root, os.fsdecode(below))
        try:
            found = read(path)
        except FileNotFoundError:
            continue  # gone since it was listed
        except (OSError, CorruptFileError, CorruptNodeError) as error:
            yield f"{path}: cannot be used: {error}"
            continue
        decision = table.explain(name)
        if found != decision.schema.archives:
            wanted = shown_archives(decision.schema.archives)
            yield f"{path}: keeps {shown_archives(found)}, schema [{decision.schema_rule}] says {wanted}"


def file_archives(path: str) -> tuple[Archive, ...]:
    """Return the archives of a whisper file; OSError or CorruptFileError where there are none."""
    with open(path, "rb") as file:
        header = parse_header(file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size)
    return tuple(Archive(step, points) for _, step, points in header.archives)


def node_archives(path: str) -> tuple[Archive, ...]:
    """Return the archives that a ceres node names, the first with the node's own step, of no points if it names none.

    OSError or CorruptNodeError where there is no node.
    """
    node = read_node(os.fsencode(path))
    found = tuple(Archive(*pair) for pair in node.archives)
    if found and found[0].step == node.step:
        return found
    return Archive(node.step, 0), *found


def shown_archives(archives: Sequence[Archive]) -> str:
    """Return archives as storage-schemas.conf would have them: seconds per point, and length."""
    return ",".join(f"{archive.step}s{_length(archive.retention)}" for archive in archives)


def _length(seconds: int) -> str:
    for unit, size in (("y", 31536000), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds and seconds % size == 0:
            return f":{seconds // size}{unit}"
    return ""
