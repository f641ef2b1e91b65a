"""Imports run one way, and only NumPy and the standard library come in from outside."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: The house from the ground up. Modules import from the floors below theirs and, where that makes no cycle, from their
#: own, also inside functions. A package's name stands for all in it that has no place of its own.
FLOORS = [
    "contexts messages dtypes kernels op ops.methods command",
    "backend tape",
    "conversion",
    "tensor",
    "ops",
    "autograd creation",
    "nn",
    "optim bn data checkpoint distributed dlpack interop layers info sampling",
    "study onnx onnx.export graph onnx.model",
]
PLACES = {f"minigrad.{name}": floor for floor, names in enumerate(FLOORS) for name in names.split()}
PLACES |= {name: len(FLOORS) + i for i, name in enumerate(["minigrad", "models", "examples"])}

#: where Numba is imported freely, since these modules are imported when a kernel is first called
COMPILED = "minigrad.kernels.compiled"

#: imported by those who ask for what they do, inside functions only
LAZY = {
    "cudnn",
    "cupy",
    "cupyx",
    "graphviz",
    "matplotlib",
    "ml_dtypes",
    "mpi4py",
    "onnx",
    "pooch",
    "requests",
    "safetensors",
    "threadpoolctl",
    "tqdm",
}


def module_name(path):
    """The dotted name; a package's for its ``__init__``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for folder in ["minigrad", "models", "examples"]
    for path in sorted((ROOT / folder).rglob("*.py"))
}
OURS = [name for name in MODULES if name.split(".")[0] == "minigrad"]


def statements(body, inside=False, types=False):
    """Import statements, and whether they are in a function; those for type checkers only if ``types``."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, inside
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types:
            yield from statements(node.orelse, inside)
        else:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from statements(ast.iter_child_nodes(node), inside or function, types)


def imports(name, types=False):
    """What a module imports, as full names, and whether inside a function."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for statement, inside in statements(ast.parse(path.read_text("utf-8")).body, types=types):
        if isinstance(statement, ast.Import):
            yield from ((alias.name, inside) for alias in statement.names)
            continue
        base = package[: len(package) - statement.level + 1] if statement.level else []
        source = ".".join([*base, *filter(None, [statement.module])])
        for alias in statement.names:
            inner = f"{source}.{alias.name}"
            yield inner if inner in MODULES else source, inside


def place(name):
    """The floor of a module."""
    entry = name
    while entry and entry not in PLACES:
        entry = entry.rpartition(".")[0]
    assert entry and (entry != "minigrad" or name == entry), (
        f"{name} has no place in the house: add it to FLOORS in {Path(__file__).name}"
    )
    return PLACES[entry]


def test_imports_are_found():
    """Relative and absolute ones, of modules and names, in functions; but not those for type checkers."""
    assert ("cupy", True) in imports("minigrad.backend")
    assert ("numpy", False) in imports("minigrad.backend")
    assert ("minigrad.op", False) in imports("minigrad.ops.random")
    assert ("minigrad.nn", False) in imports("minigrad")
    assert ("minigrad.nn.layers", False) in imports("minigrad.nn")
    assert "minigrad.onnx.model" not in dict(imports("minigrad"))


def test_every_place_is_taken():
    assert {entry for entry in PLACES if entry not in MODULES} <= {"models", "examples"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    for target, _ in imports(name):
        if target in MODULES:
            assert place(target) <= place(name), (
                f"{name} (floor {place(name)}) imports {target} (floor {place(target)}), which stands above it"
            )


def test_no_module_imports_itself_through_others():
    """Imports for type checkers and in functions count."""
    graph = {name: {t for t, _ in imports(name, types=True) if t in MODULES} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a cycle of imports: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("name", OURS)
def test_nothing_else_is_imported(name):
    for target, inside in imports(name):
        package = target.split(".")[0]
        if package in sys.stdlib_module_names or package in {"minigrad", "numpy"}:
            continue
        if name.startswith(COMPILED) and package in {"numba", "llvmlite"}:
            continue
        assert package in LAZY, (
            f"{name} imports {package}: only NumPy and {LAZY} may come from outside"
        )
        assert inside, (
            f"{name} imports {package} at module level: move it into the function that needs it"
        )


def test_compiled_kernels_are_imported_when_first_called():
    for name in set(OURS) - {module for module in OURS if module.startswith(COMPILED)}:
        for target, inside in imports(name):
            assert inside or not target.startswith(f"{COMPILED}."), f"{name} imports {target}"


@pytest.mark.parametrize("name", OURS)
def test_no_file_is_long(name):
    lines = len(MODULES[name].read_text("utf-8").splitlines())
    assert lines <= 400, (
        f"{MODULES[name].relative_to(ROOT)} has {lines} lines: split it by what it does"
    )
