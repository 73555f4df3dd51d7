"""Every option of the Config is read by something that is not the configuration itself."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import get_type_hints

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config
from cadtwist.config.options import leaves, struct_of

PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "cadtwist")

ELSEWHERE: dict[str, str] = {
    "relays.groups.sampling.reservoir_size": "its bound is checked; what counts is the threshold",
    "accumulators.tags": "neither lines nor files have room for them, which is said at start",
    **dict.fromkeys(
        (f"accumulators.writer.indexer.{leaf}" for leaf in ("driver", "dsn", "options")),
        "its driver is checked; those that are possible need nothing",
    ),
    "health_metrics.group.sampling.reservoir_size": "as in relays.groups",
    **dict.fromkeys(
        ("statsd.calculated_timer_metrics", "statsd.legacy_namespace"),
        "statsd's own settings have other names for them",
    ),
}
"""Options that nobody reads, and why."""

IN_LOOPS = (
    "accumulators.",
    "relays.filters.",
    "relays.groups.",
    "destinations.instance",
    "health.",
    "health_metrics.",
    "dattss.nodes.",
    "statsd.",  # becomes statsd's own settings as a whole
)
"""What is read of entries that loops and functions hand on: the search only sees that the name is read somewhere."""

COUNTERS = "istat"
"""The part of the Config that a counter daemon is given as its `config`."""


def sources() -> Iterator[ast.Module]:
    """Yield the tree of every module outside `config` (the command line included)."""
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name not in ("config", "kernels", "__pycache__")]
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    yield ast.parse(file.read())


def sections() -> dict[str, str]:
    """Return the section (`limits`, `listeners.tls`; empty for the top) that each struct of the model stands for."""
    found = {"Config": ""}
    for path, _hint, _default in leaves():
        section, _, _leaf = path.rpartition(".")
        found.setdefault(_struct_name(section), section)
    return found


def _struct_name(section: str) -> str:
    struct: type = Config
    for part in section.split(".") if section else ():
        inner = struct_of(get_type_hints(struct)[part])
        assert inner is not None
        struct = inner
    return struct.__name__


class Reads(ast.NodeVisitor):
    """Collects which (section, leaf) a module reads, following plain names for sections."""

    def __init__(self, structs: dict[str, str]) -> None:
        self.structs = structs
        self.names: dict[str, str] = {"config": "", "door": "listeners", "new": "", "old": ""}
        self.found: set[str] = set()
        self.known = {path.rpartition(".")[0] for path, _, _ in leaves()}

    def section_of(self, node: ast.expr) -> str | None:
        """Return the section that an expression stands for."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.BoolOp):
            return self.section_of(node.values[0])
        if isinstance(node, ast.Call):
            return self.section_of(node.func)
        if isinstance(node, ast.Attribute):
            if node.attr in ("config", "_config"):
                return COUNTERS if self.names["config"] == COUNTERS else ""
            if self.names.get(node.attr) is not None and isinstance(node.value, ast.Name) and node.value.id == "self":
                return self.names[node.attr]
            outer = self.section_of(node.value)
            if outer is not None:
                path = f"{outer}.{node.attr}".lstrip(".")
                return path if path in self.known else None
        return None

    def visit_arg(self, node: ast.arg) -> None:
        text = ast.unparse(node.annotation).split(" ")[0] if node.annotation else ""
        if text in self.structs:
            self.names[node.arg] = self.structs[text]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        text = ast.unparse(node.annotation)
        if isinstance(node.target, ast.Name) and text in self.structs:
            self.names[node.target.id] = self.structs[text]
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for one, value in zip(targets, values, strict=False):
                section = self.section_of(value)
                name = one.id if isinstance(one, ast.Name) else one.attr if isinstance(one, ast.Attribute) else ""
                if section is not None and name:
                    self.names[name] = section
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        section = self.section_of(node.value)
        if section is not None and isinstance(node.ctx, ast.Load):
            self.found.add(f"{section}.{node.attr}".lstrip("."))
        self.generic_visit(node)


class UseTests(SynchronousTestCase):
    """An option that nobody reads is a promise that nobody keeps."""

    def test_every_option_is_read(self) -> None:
        structs = sections()
        read: set[str] = set()
        for tree in sources():
            visitor = Reads(structs)
            visitor.visit(tree)
            read |= visitor.found
        unread = [path for path, _, _ in leaves() if path not in read and path not in ELSEWHERE]
        somewhere = {node.attr for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        loops = [path for path in unread if path.startswith(IN_LOOPS) and path.rpartition(".")[2] in somewhere]
        self.assertEqual([path for path in unread if path not in loops], [])
        self.assertEqual([path for path in ELSEWHERE if path in read], [], "exceptions that are none")

    def test_the_search_is_sharp(self) -> None:
        """A name alone is no reading: it must come from its section."""
        visitor = Reads(sections())
        text = "def f(web: WebConfig, x):\n a = self.config.limits\n web.workers\n x.max_points\n a.flow_control"
        visitor.visit(ast.parse(text))
        self.assertEqual(visitor.found, {"limits", "web.workers", "limits.flow_control"})
