"""Every block of code of README.md and docs/ runs, or says why it does not."""

import os
import re
import sys
from pathlib import Path

import pytest

from docs.generate import DOCS
from tests.docs_blocks import BLOCK, ROOT, blocks, run_page

README = ROOT / "README.md"
GENERATED = {"methods.md", "metrics.md"}
"""Pages whose blocks are examples of docstrings, which tests/test_docstrings.py runs."""
QUICK = {"targets.md", "own-models.md"}
"""Pages that tests/test_docs.py runs."""
SMALLER = {
    "vitjax evaluate": "vitjax evaluate --no-profile",
    "scenes:2000": "scenes:8",
    "scenes:32": "scenes:6",
    "scenes:24": "scenes:6",
    "--train 1000 --test 2000": "--train 20 --test 25",
    "--steps 200 --batch-size 32": "--steps 2 --batch-size 4",
    "--methods all --metrics": "--methods rollout transformer_mm centre --metrics",
    "--methods all --target": "--methods rollout attn_lrp --target",
    "-o out/page.html": "--no-curves -o out/page.html",  # curves: docs/getting-started.md
    "-o out/beside.html": "--no-curves -o out/beside.html",
}
"""What commands of the pages are run with instead, so that the test takes a minute."""
PAGES = sorted(page for page in [README, *DOCS.glob("*.md")] if page.name not in GENERATED | QUICK)
RUN = [page for page in PAGES if any(block.is_run for block in blocks(page))]


def test_blocks_say_their_language():
    """One without a language would be run by no test, and is not checked by `blocks`."""
    for page in [README, *DOCS.glob("*.md")]:
        fences = re.findall(r"^```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
        allowed = {"```", "```python", "```bash", "```text", "```{code-cell} ipython3", "```{eval-rst}", "```{toctree}"}
        assert set(fences) <= allowed, page.name


def test_reasons_stand_before_blocks():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- not run: ") == sum(bool(reason) for reason, *_ in BLOCK.findall(text)), page.name


def test_the_pages_that_are_for_newcomers_run():
    assert {page.name for page in RUN} >= {"README.md", "getting-started.md", "walkthrough.md", "own-methods.md"}


@pytest.mark.parametrize("option", ["--beside.model", "--masks", "--width-mm", "--pdf"])
def test_options_that_readers_look_for_stand_in_a_command_that_runs(option):
    found = [page.name for page in RUN for block in blocks(page) if block.is_run and option in block.text]
    assert "figures.md" in found


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A working directory with the examples of the repository; `vitjax` and `python` are those of this environment."""
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_code_runs(page, checkout, registries):
    run_page(page, SMALLER)
