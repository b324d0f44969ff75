"""The layout of the package: imports point upwards in one order of layers, without a circle, inside functions too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import q2mm_accel

LAYERS = (
    ("errors", "units", "runtime"),
    ("readers",),
    ("model",),
    ("parameters",),
    ("problem",),
    ("kernel",),
    ("devices", "memory", "io"),
    ("interop",),
    ("writers",),
    ("inputs",),
    ("solvers", "uncertainty"),
    ("objective",),
    ("spectra", "stationary"),
    ("validation",),
    ("drivers", "comparison", "recipe"),
    ("crossvalidation", "report"),
    ("fitting",),
    ("public", "__init__"),
    ("datasets", "cli", "benchmark"),
)
"""Modules and packages, each of which may import what stands before it or beside it; `public` holds the public names."""
UNTRACED = {"errors": "jax", "units": "jax", "readers": "jax", "model": "jax", "parameters": "jax", "problem": "jax.numpy"}
"""What layers that compute with NumPy do not import; `problem` registers its arrays with JAX."""
OPTIONAL = (
    *("q2mm", "rich", "openmm", "mpmath", "matplotlib", "pyscf", "pandas"),
    *("iodata", "cclib", "ase", "psi4", "rdkit", "parmed"),
)
"""Packages that are not imported before they are needed."""

FOLDER = Path(q2mm_accel.__file__).parent


def name_of(path: Path) -> str:
    """Dotted name inside the package; that of a folder is the folder's, and that of the package `__init__`."""
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.rglob("*.py"))}


def imported(tree: ast.AST) -> Iterator[str]:
    """What a module imports anywhere, but for annotations: dotted names, of modules or of what they hold."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def own(name: str) -> str | None:
    """The module of the package that an import reads, if it is one of the package."""
    first, _, rest = name.partition(".")
    if first != "q2mm_accel":
        return None
    return next((each for each in (rest, rest.rpartition(".")[0]) if each in MODULES), "__init__")


GRAPH = {module: {found for name in imported(tree) if (found := own(name))} for module, tree in MODULES.items()}
PLACES = {name: place for place, names in enumerate(LAYERS) for name in names}


def place_of(module: str) -> int:
    return PLACES[module.partition(".")[0]]


def test_every_module_has_a_layer():
    assert len(MODULES) > 50
    assert {module.partition(".")[0] for module in MODULES} - {"__main__"} == set(PLACES)


def test_imports_point_upwards():
    wrong = [f"{module} imports {each}" for module in GRAPH for each in GRAPH[module] if place_of(each) > place_of(module)]
    assert not wrong, "\n".join(sorted(wrong))


def test_there_is_no_import_circle():
    try:
        order = list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("layer", UNTRACED)
def test_layers_of_numpy_trace_nothing(layer):
    modules = [module for module in MODULES if module.partition(".")[0] == layer]
    assert modules
    names = ((module, f"{name}.") for module in modules for name in imported(MODULES[module]))
    assert not [f"{module} imports {name}" for module, name in names if name.startswith(f"{UNTRACED[layer]}.")]


def test_importing_imports_no_optional_package(tmp_path):
    modules = "q2mm_accel, q2mm_accel.cli, q2mm_accel.datasets.problems"
    code = f"import sys, {modules}; print([name for name in {OPTIONAL} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "[]"
