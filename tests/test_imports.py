"""Who may import whom, read from the syntax trees of every module."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import qinspect

PACKAGE = Path(qinspect.__file__).parent

# Bottom up. A module imports its own package and what stands in a lower row; neighbours do not know each other.
ROWS = [
    ("errors", "task", "registry", "figures", "__version__"),
    ("assets", "quant", "tables"),
    ("formats", "analysis"),
    ("warm_up",),
    ("findings", "network", "compare"),
    ("recipe", "importance"),
    ("targets",),
    ("session", "nn", "reproduce", "evaluation"),
    ("planning", "versus"),
    ("__init__",),
    ("gui", "report", "scheme_flags"),
    ("cli",),
    ("__main__",),
]
HEIGHT = {name: row for row, names in enumerate(ROWS) for name in names}
HEAVY = ("PySide6", "pyqtgraph", "torch", "numba", "onnx", "onnxruntime", "gguf", "tflite")

MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[tuple[str, str | None]]:
    """Every module that a file imports, as (dotted name, name of the outermost function around it)."""
    found = []

    def walk(node: ast.AST, function: str | None) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, function) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path.name} imports relatively"
                found.extend((f"{child.module}.{alias.name}", function) for alias in child.names)
            inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else None
            walk(child, function or inner)

    walk(ast.parse(path.read_text(encoding="utf-8")), None)
    return found


def importers(*packages: str) -> set[tuple[str, str | None]]:
    """(file, function) of every import of one of `packages`; function is None where it runs with the module."""
    return {
        (path.relative_to(PACKAGE).as_posix(), function)
        for path in MODULES
        for name, function in imports(path)
        if name.split(".")[0] in packages
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_what_stands_lower(path):
    own = unit(path)
    assert own in HEIGHT, f"give {own} its place in ROWS"
    for name, _ in imports(path):
        package, other, *_ = f"{name}.".split(".")
        if package == "qinspect":
            # What is no module is a name that the package itself defines.
            assert other == own or HEIGHT.get(other, HEIGHT["__init__"]) < HEIGHT[own], f"{own} imports {name}"


def test_qt_is_known_to_the_window_alone():
    assert all(file.startswith("gui/") for file, _ in importers("PySide6", "pyqtgraph", "shiboken6"))


def test_torch_is_known_to_its_modules_alone():
    assert all(file.startswith("nn/") for file, _ in importers("torch"))


def test_numba_is_known_to_the_core_alone():
    assert all(file.startswith("quant/") for file, _ in importers("numba"))


def test_libraries_of_one_format_are_imported_inside_its_functions():
    for file, function in importers("onnx", "onnxruntime", "gguf", "tflite"):
        assert function and file.startswith(("formats/", "targets/"))


def test_the_command_line_reaches_the_window_in_one_function():
    files = (PACKAGE / "cli").rglob("*.py")
    functions = [f for path in files for name, f in imports(path) if name.startswith("qinspect.gui")]
    assert len(functions) == 1
    assert None not in functions


@pytest.mark.parametrize(
    "code", ["import qinspect", "import qinspect; qinspect.schemes(); qinspect.make_scheme('base11')"]
)
def test_importing_loads_nothing_heavy(code):
    show = f"{code}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", show], text=True, timeout=60).strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["analyze", "--help"], ["export", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    run = [sys.executable, "-X", "importtime", "-m", "qinspect", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "qinspect" in loaded
    assert loaded.isdisjoint(HEAVY)
