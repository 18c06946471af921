"""Where things stand: imports go one way, files are small, no public name hides a module. ARCHITECTURE.md says why."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vitjax

ROOT = Path(__file__).parents[1]
ORDER = (
    *("errors", "storage", "output", "shapes", "maps", "images", "nn", "rules", "execution", "weights_convert"),
    *("models", "layerwise", "methods", "metrics", "data", "plots", "explaining", "verifying"),
    *("rundir", "report", "evaluating", "explore", "train", "papers", "cli"),
)
"""A module may import from its own package and from what stands before it."""
ENTRY_POINTS = dict.fromkeys(("vitjax", "vitjax.__main__", "weights_convert.__main__", "vitjax.train.__main__"), "cli")
"""Modules that belong to a later place than their package."""
LONGEST_FILE, LONGEST_FUNCTION = 300, 60


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in ("vitjax", "weights_convert") for path in (ROOT / package).rglob("*.py")}
NAMES = sorted(MODULES)


def package_of(module: str) -> str:
    """Its place in ORDER, by name."""
    parts = module.split(".")
    return ENTRY_POINTS.get(module) or (parts[0] if parts[0] == "weights_convert" else parts[1])


def imported(module: str) -> set[str]:
    """Modules of this repository that a module imports anywhere: at its top, in a function, for the type checker."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if name in MODULES}
            found |= modules | ({node.module} if names - modules else set())
    return {name for name in found if name.split(".")[0] in ("vitjax", "weights_convert", "tests", "benchmarks")}


@pytest.mark.parametrize("module", NAMES)
def test_imports_go_one_way(module):
    for other in imported(module):
        assert other in MODULES, f"{module} imports {other}, which is not shipped"
        assert other != "vitjax", f"{module} imports from the package root"
        here, there = package_of(module), package_of(other)
        assert ORDER.index(there) <= ORDER.index(here), f"{module} imports {other}: {there} stands after {here}"


def test_no_module_leads_back_to_itself():
    graph = {module: imported(module) - {module} for module in NAMES if module not in ("vitjax", "vitjax.__main__")}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", NAMES)
def test_no_string_names_what_is_not_shipped(module):
    """importlib.import_module("tests.x") would be an import that `imported` does not see."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            unshipped = node.value.split(".")[0] in ("tests", "benchmarks")
            assert not unshipped, f"{module}, line {node.lineno}: {node.value!r} is not shipped"


CALLS_WHAT_IT_VERIFIES = "vitjax.verifying.parity"


@pytest.mark.parametrize("module", [module for module in NAMES if module.startswith("vitjax.verifying")])
def test_formulas_share_no_code_with_methods(module):
    if module != CALLS_WHAT_IT_VERIFIES:
        foreign = {other for other in imported(module) if not other.startswith("vitjax.verifying.")}
        assert foreign <= {"vitjax.errors", "vitjax.nn.vit_config"}


@pytest.mark.parametrize("module", NAMES)
def test_files_and_functions_are_small(module):
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [each for each in node.body if not _is_text(each)]
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_every_package_says_what_lives_there():
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            assert len(ast.get_docstring(ast.parse(path.read_text())) or "") > 40, module


def test_the_root_holds_what_all_share():
    found = {path.stem for path in (ROOT / "vitjax").glob("*.py")}
    assert found == {"__init__", "__main__", "errors", "storage", "shapes", "maps"}
    assert all((ROOT / package / "py.typed").exists() for package in ("vitjax", "weights_convert"))


@pytest.mark.parametrize("name", vitjax.__all__)
def test_no_public_name_hides_a_module(name):
    assert f"vitjax.{name}" not in MODULES


OWN_DERIVATIVES = {
    "vitjax.methods.grad_cam": {"grad"},  # of a ResNet, which has no blocks
    "vitjax.methods.grad_rollout": {"scan"},  # over matrices that the shared pass handed it
    "vitjax.methods.meaningful_perturbation": {"grad", "scan"},  # by its mask, and over its steps
    "vitjax.methods.tam": {"scan"},  # over the points of a path
}


@pytest.mark.parametrize("module", [module for module in NAMES if module.startswith("vitjax.methods.")])
def test_only_layerwise_differentiates_or_scans_over_layers(module):
    watched = {"grad", "value_and_grad", "vjp", "jvp", "linearize", "scan", "fori_loop", "while_loop"}
    nodes = ast.walk(ast.parse(MODULES[module].read_text()))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    used = {call.attr for call in calls if isinstance(call, ast.Attribute)} & watched
    assert used == OWN_DERIVATIVES.get(module, set())


TERMINAL = "vitjax.output.terminal"


@pytest.mark.parametrize("module", NAMES)
def test_text_is_written_and_read_in_one_way(module):
    """Files of text name their encoding, and lines are printed by `say`, which escapes names of files."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function, options = node.func, {keyword.arg for keyword in node.keywords}
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        where = f"{module}, line {node.lineno}"
        if isinstance(function, ast.Name) and name == "print":
            assert module == TERMINAL, f"{where}: print instead of say"
        if isinstance(function, ast.Attribute) and name in ("read_text", "write_text"):
            assert "encoding" in options, f"{where}: {name} without an encoding"
        if name == "open" and (modes := _text_modes(node)):
            assert "encoding" in options, f"{where}: open in mode {modes} without an encoding"


def _text_modes(call: ast.Call) -> str | None:
    """The mode of a call of `open` if it is one of text."""
    values = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return next((mode for mode in modes if set(mode) <= set("rwaxt+") and "b" not in mode and mode), None)
