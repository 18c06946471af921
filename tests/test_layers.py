"""Imports go one way. A module may import what stands before it, never what stands after."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vitjax"

ORDER = [
    "errors",
    "shapes",
    "ops",
    "vit",
    "resnet",
    "network",
    "execution",
    "batching",
    "queries",
    "spread",
    "data.geometry",
    "data.image",
    "data.labels",
    "positions",
    "families",
    "model",
    "zoo",
    "fold",
    "stages",
    "backward",
    "trace",
    "rules",
    "score",
    "flow",
    "quadrature",
    "methods",
    "maps",
    "plots",
    "images",
    "targets",
    "explanation",
    "compilation_cache",
    "api",
    "features",
    "metrics",
    "data",
    "train",
    "output",
    "evaluate",
    "report",
    "evaluation",
    "compare_page",
    "runs",
    "verify",
    "check_method",
    "demo",
    "cli_arguments",
    "cli_evaluation",
    "cli",
]


def rank(module: str) -> int:
    """Position of the longest prefix of the dotted name that ORDER lists."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in ORDER:
            return ORDER.index(name)
    stem = module.split("_")[0]
    assert stem in ORDER, f"vitjax.{module} has no place in ORDER; add it"
    return ORDER.index(stem)


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "__main__"):
            yield name, path


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vitjax":
            inner = node.module.removeprefix("vitjax").removeprefix(".")
            for alias in node.names:
                candidate = f"{inner}.{alias.name}".removeprefix(".")
                is_module = (PACKAGE / Path(*candidate.split("."))).with_suffix(".py").exists()
                is_package = (PACKAGE / Path(*candidate.split("."))).is_dir()
                yield candidate if is_module or is_package else inner
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("vitjax."):
                    yield alias.name.removeprefix("vitjax.")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_go_one_way(name, path):
    for other in imported(path):
        assert other, f"vitjax.{name} imports from the package root"
        same_room = name.split(".")[0] == other.split(".")[0] and rank(name) == rank(other)
        assert same_room or rank(other) < rank(name), f"vitjax.{name} imports vitjax.{other}, which stands above it"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_files_are_small(name, path):
    assert len(path.read_text().splitlines()) <= 400


def test_only_trace_differentiates_or_scans_over_layers():
    """Methods may scan what a sweep handed them; jax.grad and jax.vjp over blocks belong to trace.py."""
    for name, path in modules():
        if name.startswith("methods."):
            calls = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
            assert not calls & {"value_and_grad", "vjp", "jvp"}, name
