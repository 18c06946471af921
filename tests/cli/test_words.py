"""What users read calls what goes in "images", never "pictures", so that nobody looks for a difference."""

import ast
import re
from pathlib import Path

import pytest

from tests.cli.test_help import help_of
from vitjax.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
WORD = re.compile(r"\bpictures?\b", re.IGNORECASE)
RECORDED = {"whole picture"}
"""Texts that are keys of digests in run directories, and cannot change."""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_speaks_of_images(command, monkeypatch, capsys):
    text = "\n".join(help_of(monkeypatch, capsys, command)).replace("--pictures, --no-pictures", "")
    assert not WORD.search(text)


@pytest.mark.parametrize("package", ["vitjax", "weights_convert"])
def test_messages_speak_of_images(package):
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):  # a docstring
                node.value = ast.Constant(None)
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        spoken = [text for text in texts if WORD.search(text) and " " in text and text not in RECORDED]
        if spoken:
            found[path.name] = spoken
    assert not found


def test_pages_speak_of_images():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.ipynb")]
    assert len(pages) > 15
    for page in pages:
        prose = re.sub(r"`[^`\n]*`|\]\([^)]*\)|^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert not WORD.search(prose), (page.name, WORD.search(prose))
