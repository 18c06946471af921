"""The stub from which editors complete methods and options: it is up to date, and mypy reads it as meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs.stub import STUB, stub

ROOT = Path(__file__).parents[1]


def test_the_stub_is_up_to_date():
    assert STUB.read_text(encoding="utf-8") == stub(), "run `python -m docs.stub`"


@pytest.mark.slow
def test_a_type_checker_knows_options_and_results(tmp_path):
    (tmp_path / "user.py").write_text(
        "import vitjax\n"
        "model = vitjax.load('vitjax_scenes')\n"
        "e = vitjax.explain(model, 'a.png', 'gmar', norm='l2')\n"
        "reveal_type(e)\n"
        "vitjax.explain(model, 'a.png', head_fusion='maximum')\n"
        "vitjax.explain(model, 'a.png', 'my_own', power=2)\n"
        "es = vitjax.explain_many(model, 'a.png', ['rollout', {'method': 'gmar', 'norm': 'l2'}])\n"
        "reveal_type(es['rollout'])\n"
        "vitjax.figure(es, rows='columns')\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "user.py")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    found = [line.split(".py:")[1] for line in result.stdout.splitlines() if ": error" in line or "Revealed" in line]
    assert [line.split(":")[0] for line in found] == ["4", "5", "8", "9"], result.stdout
    assert "Explanation" in found[0] and "No overload variant" in found[1] and "Explanation" in found[2]
