"""Keeps the shape of the house that ARCHITECTURE.md tells of: layers, imports, sizes and names."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LAYERS: dict[str, int] = {
    "kernels": -1,
    **dict.fromkeys(("", "model", "interfaces", "errors", "telemetry", "flow"), 0),
    **dict.fromkeys(("codec", "config"), 1),
    **dict.fromkeys(("stages", "routing", "cache", "journal", "storage", "query"), 2),
    **dict.fromkeys(("protocols", "net", "web", "client"), 3),
    **dict.fromkeys(("services", "testing"), 4),
    **dict.fromkeys(("cli", "finder", "shims"), 5),  # the last two live in other programs
}
GROUND = 0  # rooms of the ground floor may use each other, as long as there is no cycle
SIDEWAYS = {("query", "cache"), ("query", "storage"), ("cli", "shims"), ("shims", "finder")}

PURE_UP_TO = 2
IMPURE_MODULES = ("twisted.internet", "twisted.web", "twisted.python.log", "twisted.logger", "twisted.application")
MODULE_LINES, KERNEL_LINES, FUNCTION_LINES = 600, 900, 60
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "handler", "engine", "data2"}

SELECTOR = "cadtwist.kernels.active"  # it alone chooses something when imported
BUSY_ON_IMPORT = {"open", "print", "input", "exec", "eval", "__import__", "exit"}
BUSY_MODULES = {"os", "sys", "time", "socket", "threading", "subprocess", "random", "importlib", "signal", "shutil"}
QUIET_CALLS = {"os.path.join", "os.path.dirname", "os.path.abspath", "os.environ.get", "sys.getsizeof", "os.sysconf"}


class Module(NamedTuple):
    """One Python file of the package."""

    name: str
    path: str
    source: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder or top-level module that it belongs to; empty for the package itself."""
        return [*self.name.split("."), ""][1]


def python_files(folder: str, suffix: str = ".py") -> Iterator[str]:
    """Yield the paths of all sources below `folder`, in order."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (os.path.join(where, name) for name in sorted(files) if name.endswith(suffix))


def read_modules() -> dict[str, Module]:
    """Return every module of the package by dotted name."""
    found = {}
    for path in python_files(os.path.join(ROOT, "cadtwist")):
        name = os.path.relpath(path, ROOT)[:-3].replace(os.sep, ".").removesuffix(".__init__")
        with open(path, encoding="utf-8") as file:
            source = file.read()
        found[name] = Module(name, path, source, ast.parse(source, path))
    return found


def imported(node: ast.AST) -> list[str]:
    """Return the dotted names that an import statement names (`from a import b` gives `a.b`)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def edges(modules: dict[str, Module], module: Module) -> Iterator[tuple[str, int]]:
    """Yield (module of ours, line) for every import in `module`, wherever it stands."""
    for node in ast.walk(module.tree):
        for name in imported(node):
            if name.split(".")[0] == "cadtwist":
                target = name if name in modules else name.rpartition(".")[0]
                if target in modules and target != module.name:
                    yield target, node.lineno


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return one path for each import cycle that a depth-first walk meets."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                walk(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def runs_on_import(statement: ast.stmt) -> bool:
    """Tell whether a statement of a module's top level does more than define."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If):
        text = ast.unparse(statement.test)
        if text == "__name__ == '__main__'":
            return False
        return any(runs_on_import(inner) for inner in (*statement.body, *statement.orelse))
    if isinstance(statement, ast.Try):
        rescues = [inner for handler in statement.handlers for inner in handler.body]
        parts = (*statement.body, *statement.orelse, *statement.finalbody, *rescues)
        return any(runs_on_import(inner) for inner in parts)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return statement.value is not None and calls_the_world(statement.value)
    plain = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass, ast.Raise)
    return not isinstance(statement, plain)


def calls_the_world(value: ast.expr) -> bool:
    """Tell whether an expression reaches for files, clocks, processes or the like."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in BUSY_ON_IMPORT or (name.split(".")[0] in BUSY_MODULES and name not in QUIET_CALLS):
                return True
    return False


class ArchitectureTests(SynchronousTestCase):
    """Each test lists every place that breaks its rule."""

    maxDiff = None
    modules = read_modules()

    def hold(self, rule: str, violations: list[str]) -> None:
        if violations:
            self.fail(f"{rule}:\n  " + "\n  ".join(violations))

    def test_every_room_has_a_layer(self) -> None:
        self.hold("unknown room", sorted({m.room for m in self.modules.values()} - set(LAYERS)))

    def test_imports_only_go_down(self) -> None:
        wrong = []
        for module in self.modules.values():
            for target, line in edges(self.modules, module):
                there = self.modules[target].room
                here_layer, there_layer = LAYERS.get(module.room, 9), LAYERS.get(there, 9)
                if module.room == there or there_layer < here_layer:
                    continue
                if here_layer == there_layer and (here_layer == GROUND or (module.room, there) in SIDEWAYS):
                    continue
                wrong.append(f"{module.path}:{line}: {module.name} imports {target}")
        self.hold("imports only go down, and rooms of one layer do not import each other", wrong)

    def test_no_import_cycle(self) -> None:
        graph = {name: {target for target, _ in edges(self.modules, m)} for name, m in self.modules.items()}
        self.hold("no cycle, deferred imports count", [" -> ".join(cycle) for cycle in cycles(graph)])

    def test_lower_layers_know_no_reactor_and_no_clock(self) -> None:
        wrong = []
        for module in self.modules.values():
            if LAYERS.get(module.room, 9) > PURE_UP_TO:
                continue
            for node in ast.walk(module.tree):
                names = imported(node)
                bad = [n for n in names if n == "time.time" or n.startswith(IMPURE_MODULES)]
                if isinstance(node, ast.Attribute) and dotted(node) in ("time.time", "time.sleep"):
                    bad.append(dotted(node))
                wrong += [f"{module.path}:{getattr(node, 'lineno', 0)}: {name}" for name in bad]
        self.hold("now and reactor are arguments below protocols", wrong)

    def test_no_reactor_at_module_level(self) -> None:
        wrong = [
            f"{module.path}:{node.lineno}"
            for module in self.modules.values()
            for node in module.tree.body
            if "twisted.internet.reactor" in imported(node)
        ]
        self.hold("the reactor is chosen by twistd", wrong)

    def test_nothing_happens_on_import(self) -> None:
        wrong = [
            f"{module.path}:{node.lineno}"
            for module in self.modules.values()
            if module.name != SELECTOR
            for node in module.tree.body
            if runs_on_import(node)
        ]
        self.hold("a module only defines", wrong)

    def test_no_globals(self) -> None:
        wrong = [
            f"{module.path}:{node.lineno}"
            for module in self.modules.values()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Global)
        ]
        self.hold("state belongs to an object that has an owner", wrong)

    def test_init_files_say_only_what_a_room_is_for(self) -> None:
        wrong = []
        for module in self.modules.values():
            if not module.path.endswith("__init__.py"):
                continue
            for node in module.tree.body:
                is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                names = [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []
                if not is_text and names not in (["__all__"], ["__version__"]):
                    wrong.append(f"{module.path}:{node.lineno}")
        self.hold("__init__.py holds a docstring, __all__ and __version__", wrong)

    def test_sizes(self) -> None:
        wrong = []
        for module in self.modules.values():
            lines = module.source.count("\n")
            if lines > MODULE_LINES:
                wrong.append(f"{module.path}: {lines} lines, at most {MODULE_LINES}")
            for node in ast.walk(module.tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    if length > FUNCTION_LINES:
                        wrong.append(f"{module.path}:{node.lineno}: {node.name} has {length} lines")
        for path in python_files(os.path.join(ROOT, "cadtwist"), ".pyx"):
            with open(path, encoding="utf-8") as file:
                lines = sum(1 for _ in file)
            if lines > KERNEL_LINES:
                wrong.append(f"{path}: {lines} lines, at most {KERNEL_LINES}")
        self.hold("modules and functions stay small", wrong)

    def test_names_say_something(self) -> None:
        wrong = []
        for module in self.modules.values():
            names = [module.name.rpartition(".")[2]]
            names += [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
            for name in names:
                spaced = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
                if EMPTY_WORDS & set(spaced.split("_")):
                    wrong.append(f"{module.path}: {name}")
        self.hold("empty words are no names", wrong)

    def test_every_native_kernel_has_its_python_twin(self) -> None:
        wrong = [
            path
            for path in python_files(os.path.join(ROOT, "cadtwist", "kernels"), ".pyx")
            if not os.path.exists(path[:-4] + "_py.py")
        ]
        self.hold("x.pyx stands beside x_py.py", wrong)


class RuleTests(SynchronousTestCase):
    """The rules see what they are meant to see."""

    def test_cycle_is_found(self) -> None:
        self.assertEqual(cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}), [["b", "c", "b"]])
        self.assertEqual(cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}), [])

    def test_statements_that_run(self) -> None:
        for text, expected in (
            ("x = open('f')", True),
            ("print('hello')", True),
            ("for i in range(3): pass", True),
            ("started = time.time()", True),
            ("log = Logger()", False),
            ("PATTERN = re.compile('x')", False),
            ("if __name__ == '__main__': main()", False),
            ("try:\n    import a\nexcept ImportError:\n    a = None", False),
            ("'text'", False),
        ):
            self.assertEqual(runs_on_import(ast.parse(text).body[0]), expected, text)

    def test_imported_names(self) -> None:
        self.assertEqual(imported(ast.parse("from a.b import c, d").body[0]), ["a.b.c", "a.b.d"])
        self.assertEqual(imported(ast.parse("import a.b").body[0]), ["a.b"])
