"""Documentation is current: generated pages equal the docstrings, links lead to files and headings, tests exist."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from docs.generate import DOCS, pages
from docs.rst import as_rst
from tests.docs_blocks import blocks
from vitjax.methods import METHODS
from vitjax.metrics import METRICS
from vitjax.models import families

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*DOCS.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    + [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TEST = re.compile(r"tests/[\w/]+\.py::[\w:]+")


@cache
def generated() -> dict[str, str]:
    return pages()


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def names_of_tests(path: Path) -> set[str]:
    """Names of the tests in a file, those in a class as "Class::test"."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [(f"{node.name}::", node.body) for node in body if isinstance(node, ast.ClassDef)]
    return {
        prefix + node.name
        for prefix, nodes in [("", body), *classes]
        for node in nodes
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("name", ["methods.md", "metrics.md", "models.md", "choosing-a-method.md"])
def test_generated_page_is_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == generated()[name], "run python -m docs.generate"


@pytest.mark.parametrize("name", ["methods.md", "metrics.md"])
def test_every_option_and_argument_is_described(name):
    assert [line for line in generated()[name].splitlines() if line.endswith("not described")] == []


def test_every_test_that_the_page_of_failures_names_exists():
    named = TEST.findall((DOCS / "failures.md").read_text(encoding="utf-8"))
    assert len(named) > 100
    absent = []
    for each in dict.fromkeys(named):
        path, _, test = each.partition("::")
        if not (ROOT / path).is_file() or test not in names_of_tests(ROOT / path):
            absent.append(each)
    assert absent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in LINK.findall(CODE.sub("`", page.read_text(encoding="utf-8"))):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def executed(page):
    """The names that the examples of a page define, and the number of examples."""
    found = [block.text for block in blocks(DOCS / page) if block.language == "python"]
    names: dict = {"__name__": page.partition(".")[0].replace("-", "_")}
    for text in found:
        exec(compile(text, page, "exec"), names)
    return names, len(found)


@pytest.mark.slow
def test_examples_of_targets_run():
    names, count = executed("targets.md")
    assert count == 2 and names["e"].maps.shape == (2, 8, 8)
    assert names["several"].image_index.tolist() == [0, 0, 1]
    np.testing.assert_allclose(names["difference"].maps, names["weighted"].maps, rtol=1e-5)


@pytest.mark.slow
def test_examples_of_own_models_run(capsys):
    pytest.importorskip("equinox")
    names, count = executed("own-models.md")
    assert count == 7 and names["run"].finished
    assert "methods 'all' of 'my_mlp' leave out " in capsys.readouterr().err


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_have_no_outputs_and_are_on_the_site(path):
    """The build of the site runs them; stored outputs would be those of an earlier version."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3 and not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert f"../examples/{path.stem}\n" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_every_page_is_on_the_site():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS.glob("*.md") if page.stem != "index" and f"\n{page.stem}\n" not in index] == []


def test_the_gallery_shows_every_method():
    gallery = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f'"{name}"' not in gallery or f"methods.md#{name})" not in gallery] == []


def test_the_readme_counts_what_there_is():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    baselines = {"centre", "random"}
    assert f"{len(METHODS) - len(baselines)} explanation methods" in readme and f"{len(METRICS)} metrics" in readme
    assert f"{len(families.names()) - len(families.CNNS)} architecture names" in readme


def test_docstrings_become_restructured_text():
    lines = ["Sum of |a_| * b, see `x` and `explain`.", "", "Cost: 1F of", "    every image.", "", "Example:"]
    lines += ["    >>> 2 * 3", "    6"]
    as_rst(None, "function", "name", None, None, lines)
    assert lines[0] == "Sum of \\|a\\_\\| \\* b, see ``x`` and :py:obj:`explain`."
    assert lines[2:5] == ["Cost:", "    1F of", "    every image."] and "    >>> 2 * 3" in lines
    fields = ["A thing.", "", "size: how many.", "kind: what,", "    in words."]
    as_rst(None, "class", "name", None, None, fields)
    assert fields[2] == "Attributes:" and fields[4] == "    kind: what,"
