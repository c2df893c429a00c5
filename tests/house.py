"""The rules of the house, read from its source alone. ``python tests/house.py`` lists what breaks them.

A rule is a function of a `House`, the files of a package. It gives each breach as a line: place, what to do.
"""

import ast
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

#: Which folders a folder may use. Importing the package itself ("") is using all of them.
UNDER = {
    "core": set(),
    "ops": {"core"},
    "data": {"core.checks", "core.refusals"},
    "graph": {"core", "ops"},
    "nn": {"core", "ops", "data", "graph"},
    "audit": {"core", "ops", "graph"},
    "estimators": {"core", "ops", "data", "graph", "nn"},
    "cli": {"", "core", "ops", "data", "graph", "nn", "audit", "estimators"},
}
#: Packages that are imported inside the function that needs them: slow to import, or may be missing.
LATE = {
    "PIL",
    "graphviz",
    "matplotlib",
    "mpi4py",
    "onnx",
    "pooch",
    "pygraphviz",
    "safetensors",
    "sklearn",
    "threadpoolctl",
    "tqdm",
}
FUNCTION, FILE, PACKAGE = 60, 350, 22_500
LARGER = {"core/engine.py": 700}
#: Tokens that make no line a line of code.
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
#: Folders that nobody imports from: what is called is in their ``__init__``.
PROGRAMS = {"cli"}
#: Underscored names that others offer for use: named tuples, the interpreter, scikit-learn's scorers.
OFFERED = {"_asdict", "_fields", "_make", "_replace", "_getframe", "_score_func"}


@dataclass(frozen=True)
class Import:
    """One import: of ``name`` from ``module``, or of the module itself where the name is None."""

    line: int
    module: str
    name: str | None = None
    function: str | None = None  # the innermost function around it


class Source:
    """One file of the package."""

    def __init__(self, root: Path, path: Path):
        self.place = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        parts = path.relative_to(root.parent).with_suffix("").parts
        self.facade = parts[-1] == "__init__"
        self.module = ".".join(parts[:-1] if self.facade else parts)
        self.folder = parts[1] if len(parts) > 2 else ""

    def at(self, line: int, words: str) -> str:
        return f"{self.module.split('.')[0]}/{self.place}:{line}: {words}"

    @cached_property
    def code(self) -> set[int]:
        """The numbers of the lines of code: docstrings, comments and blank lines are none."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in ast.walk(self.tree):
            if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
                lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
        return lines

    @cached_property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        return [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def imports(self) -> list[Import]:
        found: list[Import] = []

        def visit(node: ast.AST, function: str | None) -> None:
            if isinstance(node, ast.Import):
                found.extend(Import(node.lineno, alias.name, None, function) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                found.extend(Import(node.lineno, module, alias.name, function) for alias in node.names)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = node.name
            for child in ast.iter_child_nodes(node):
                visit(child, function)

        visit(self.tree, None)
        return found

    @cached_property
    def bound(self) -> set[str]:
        """The names that the statements of the file's top level bind, but for imports."""
        return {name for statement in self.tree.body for name in _bound(statement)}

    @cached_property
    def defined(self) -> set[str]:
        """Every name that the file binds anywhere: of functions, classes, variables, attributes and slots."""
        names: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node, ast.Name):
                    names.add(node.id)
                elif _is_self(node.value):
                    names.add(node.attr)
            elif isinstance(node, ast.Assign) and _targets(node) == {"__slots__"}:
                names.update(c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant))
        return names

    @cached_property
    def all(self) -> tuple[int, list[str]] | None:
        """Line and names of ``__all__``, if it is a literal list of strings."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and _targets(node) == {"__all__"}:
                elements = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
                if all(isinstance(e, ast.Constant) and isinstance(e.value, str) for e in elements):
                    return node.lineno, [e.value for e in elements]
        return None


def _targets(node: ast.Assign) -> set[str]:
    return {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return _targets(node)
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    inner = [*getattr(node, "body", []), *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
    return {name for statement in inner for name in _bound(statement)}


def _without_docstring(tree: ast.Module) -> list[ast.stmt]:
    return tree.body[1:] if ast.get_docstring(tree) is not None else tree.body


def _is_self(node: ast.expr) -> bool:
    """Whether it is ``self``, ``cls`` or ``super()``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_") and name not in OFFERED


class House:
    """All files of a package."""

    def __init__(self, root: Path):
        self.root = root
        self.package = root.name
        self.files = [Source(root, path) for path in sorted(root.rglob("*.py"))]
        self.modules = {file.module: file for file in self.files}

    def target(self, found: Import) -> str | None:
        """The module of the package that an import reads, if it is one of it."""
        if found.module.split(".")[0] != self.package:
            return None
        inner = f"{found.module}.{found.name}"
        return inner if inner in self.modules else found.module

    @cached_property
    def uses(self) -> dict[str, dict[str, int]]:
        """For each module those of the package that it imports, with the line of the first import."""
        uses: dict[str, dict[str, int]] = {module: {} for module in self.modules}
        for file in self.files:
            for found in file.imports:
                target = self.target(found)
                if target in self.modules and target != file.module:
                    uses[file.module].setdefault(target, found.line)
        return uses

    def way(self, start: str, goal: str) -> list[str] | None:
        """The shortest way of imports from one module to another."""
        ways, seen = [[start]], {start}
        for way in ways:  # grows while it is read: breadth first
            if way[-1] == goal:
                return way
            for following in self.uses[way[-1]]:
                if following not in seen:
                    seen.add(following)
                    ways.append([*way, following])
        return None

    def names(self, module: str) -> dict[str, str]:
        """The names that ``from module import *`` gives, each with the module whose ``__all__`` lists it."""
        file = self.modules[module]
        if file.all is not None:
            return dict.fromkeys(file.all[1], module)
        starred = [self.target(i) for i in file.imports if i.name == "*"]
        return {
            name: home
            for inner in starred
            if inner in self.modules
            for name, home in self.names(inner).items()
        }


def circles(house: House) -> Iterator[str]:
    """No file is imported by what it imports, ``TYPE_CHECKING`` included."""
    in_a_circle: set[str] = set()
    for file in house.files:
        if file.module in in_a_circle:
            continue
        ways = [
            [file.module, *way] for used in house.uses[file.module] if (way := house.way(used, file.module))
        ]
        if not ways:
            continue
        round_trip = min(ways, key=len)
        in_a_circle.update(round_trip)
        yield file.at(
            house.uses[file.module][round_trip[1]],
            f"an import circle: {' -> '.join(round_trip)}; let the lower do without, or make them one",
        )


def late_imports(house: House) -> Iterator[str]:
    """Functions import packages of `LATE` alone, and the package's ``__getattr__`` its names on demand."""
    for file in house.files:
        for found in file.imports:
            on_demand = file.module == house.package and found.function == "__getattr__"
            if found.function and not on_demand and found.module.split(".")[0] not in LATE:
                yield file.at(
                    found.line,
                    f"imports {found.module} inside {found.function}; import it at the top of the file",
                )


def floors(house: House) -> Iterator[str]:
    """A folder uses only the folders under it."""
    for file in house.files:
        if file.folder and file.folder not in UNDER:
            yield file.at(
                1, f"the folder {file.folder} is not known; say in tests/house.py what stands under it"
            )
            continue
        for found in file.imports:
            if found.module.startswith("."):
                yield file.at(found.line, f"a relative import; write {house.package}.{file.folder} in full")
            target = house.target(found)
            if target is None or not file.folder:
                continue
            inner = target.partition(".")[2]
            floor = inner.split(".")[0]
            allowed = UNDER[file.folder]
            if floor != file.folder and not {floor, inner} & allowed:
                under = ", ".join(sorted(allowed)) or "nothing"
                yield file.at(
                    found.line,
                    f"{file.folder} imports {target}; it may use only what stands under it: {under}",
                )


def sizes(house: House) -> Iterator[str]:
    """No function, no file and no package grows beyond what one reads in one go."""
    for file in house.files:
        limit = LARGER.get(file.place, FILE)
        if len(file.code) > limit:
            yield file.at(1, f"{len(file.code)} lines of code, at most {limit}; make two files of it")
        for function in file.functions:
            lines = len(file.code & set(range(function.lineno, function.end_lineno + 1)))
            if lines > FUNCTION:
                yield file.at(
                    function.lineno,
                    f"{function.name} has {lines} lines of code, at most {FUNCTION}; divide it",
                )
    total = sum(len(file.code) for file in house.files)
    if total > PACKAGE:
        yield f"{house.package}:0: {total} lines of code, at most {PACKAGE}; say things once"


def private_names(house: House) -> Iterator[str]:
    """What another file uses has a public name."""
    for file in house.files:
        for found in file.imports:
            inside = house.target(found) is not None
            if inside and any(_is_private(part) for part in f"{found.module}.{found.name or ''}".split(".")):
                yield file.at(
                    found.line,
                    f"imports {found.name or found.module} of {found.module}; give it a public name",
                )
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.Attribute) or not _is_private(node.attr) or _is_self(node.value):
                continue
            if node.attr not in file.defined:
                yield file.at(
                    node.lineno,
                    f"{ast.unparse(node)} reads a private name of another file; give it a public name there",
                )


def _is_handed_out(house: House, node: ast.ImportFrom, alias: ast.alias, root: bool) -> bool:
    """Whether a facade may import so: all names of a module, a module, or what its ``__getattr__`` needs."""
    is_module = f"{node.module}.{alias.name}" in house.modules
    private = root and (alias.asname or "").startswith("_")
    return alias.name == "*" or is_module or private


def facades(house: House) -> Iterator[str]:
    """A folder's ``__init__`` is star imports, and each name stands in the ``__all__`` of one module."""
    for file in house.files:
        if not file.facade or file.folder in PROGRAMS:
            continue
        root = file.module == house.package
        for node in ast.walk(file.tree) if root else _without_docstring(file.tree):
            inside = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == house.package
            if root and not inside:
                continue  # what the names on demand need
            if not inside or not all(_is_handed_out(house, node, alias, root) for alias in node.names):
                yield file.at(
                    node.lineno,
                    "not `from module import *`; a facade is its docstring and star imports alone",
                )
        home: dict[str, str] = {}
        for found in file.imports:
            target = house.target(found)
            if found.name != "*" or target not in house.modules:
                continue
            source = house.modules[target]
            if source.all is None and not source.facade:
                yield source.at(1, f"no `__all__`, a literal list; {file.place} stars from it")
            for name, module in house.names(target).items():
                if home.setdefault(name, module) != module:
                    yield file.at(found.line, f"{name} stands in {home[name]} and in {module}; keep one")
    starred = {house.target(i) for file in house.files for i in file.imports if i.name == "*"}
    for file in house.files:
        if file.all is None or file.module not in starred:
            continue
        line, names = file.all
        for name in names:
            if name not in file.bound:
                yield file.at(
                    line, f"{name} is in `__all__` and not defined here; list it where it is defined"
                )
            if names.count(name) > 1:
                yield file.at(line, f"{name} is in `__all__` twice")


RULES = {
    "no import circle": circles,
    "each folder imports what stands under it": floors,
    "imports inside functions are of optional packages": late_imports,
    "no function, file or package is too long": sizes,
    "no private name of another file": private_names,
    "facades are star imports, each name handed out once": facades,
}


def breaches(house: House, rule: Callable[[House], Iterator[str]]) -> list[str]:
    """What breaks a rule, each breach once, in the order of files and lines."""

    def place(breach: str) -> tuple[str, int]:
        path, line, _ = breach.split(":", 2)
        return path, int(line)

    return sorted(dict.fromkeys(rule(house)), key=place)


if __name__ == "__main__":
    here = House(
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "tensorgrad"
    )
    broken = {title: breaches(here, rule) for title, rule in RULES.items()}
    for title, found in broken.items():
        print(f"{title}: {len(found) or 'holds'}", *found, sep="\n  ")
    sys.exit(any(broken.values()))
