"""Imports run one way, files stay readable, and what is heavy is loaded when first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tinygrad_notes"
# From the bottom up; parts on one line do not import each other unless named in BESIDE.
LAYERS = [
    {"errors", "lazy"},
    {"generator"},
    {"kernels"},
    {"tensor"},
    {"explain", "cuda"},
    {"modes"},
    {"writes"},
    {"tape"},
    {"operation"},
    {"wrapper"},
    {"registry"},
    {"autograd"},
    {"functional"},
    {"ops"},
    {"array_api", "capture"},
    {"nn"},
    {"study", "optim", "data", "interop"},
    {"training"},
    {"notes"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
# Heavy or optional: loaded through lazy.py only.
LAZY = {"numba", "cupy", "scipy", "sklearn", "matplotlib", "rich", "PIL", "torch", "onnx", "safetensors"}
# Tools about the package, not parts of it.
ABOVE = {"stubs", "__init__", "__main__"}


def sources() -> list[Path]:
    inside = [p for p in PACKAGE.rglob("*.py") if "kernels" not in p.relative_to(PACKAGE).parts]
    return sorted([*inside, *(ROOT / "kernels").rglob("*.py")])


def part_of(path: Path) -> str:
    if path.is_relative_to(ROOT / "kernels"):
        return "kernels"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(module, line, inside a function) of every import that runs; those for type checkers are left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for n in ast.walk(statement)
    }
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "tinygrad_notes"
                else [node.module or ""]
            )
            found += [(name, node.lineno, id(node) in inside) for name in names]
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    part = part_of(path)
    if part in ABOVE:
        return
    for module, line, inside in imports(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        assert not inside, f"{where} inside a function"
        if "cpu" not in path.parts:  # itself loaded when first used
            assert module.split(".")[0] not in LAZY, f"{where}; load it through lazy.py"
        if module.startswith("tinygrad_notes."):
            other = module.split(".")[1]
            assert other in LEVEL, f"{where}, which has no place in the order of imports"
            assert other == part or LEVEL[other] < LEVEL[part] or {part, other} <= LAYERS[0], (
                f"{where}, which lies above"
            )
        elif module == "tinygrad_notes":
            assert part in ("notes", "cli"), (
                f"{where}: name the module; only notes and the command read as a user's code"
            )


def test_every_part_has_a_place():
    parts = {part_of(path) for path in sources()} - ABOVE
    assert parts <= set(LEVEL)


def test_import_is_quick_and_light():
    """No heavy package comes along; the time itself is measured by benchmarks/tape.py."""
    code = f"import sys, tinygrad_notes; print([m for m in {sorted(LAZY)!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_files_are_read_in_one_sitting():
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > 500}
    assert not long, f"more than 500 lines: {long}"


def test_stub_is_what_the_registry_says():
    """tensor.pyi is written from Tensor as it is; `python -m tinygrad_notes.stubs` writes it anew."""
    code = (
        "from tinygrad_notes import stubs; "
        "assert stubs.PATH.read_text() == stubs.text(), 'run python -m tinygrad_notes.stubs'"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_public_names():
    """ops.__all__ is written out, for editors; it is every public function that ops imports."""
    code = (
        "import types, tinygrad_notes.ops as ops; "
        "functions = {n for n, v in vars(ops).items() if isinstance(v, types.FunctionType)}; "
        "names = sorted(n for n in functions if not n.startswith('_')); "
        "assert sorted(ops.__all__) == names, sorted(set(names) ^ set(ops.__all__))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
