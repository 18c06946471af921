"""The blocks of code in README.md and docs/*.md, and how tests run them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block. `language`: "python" or "bash". `is_run`: whether no comment before it says why it is not."""

    language: str
    text: str
    is_run: bool


def blocks(page: Path) -> list[Block]:
    """The blocks of Python and of commands of a page, in order."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(language, text, not reason) for reason, language, text in found]


def run_page(page: Path, smaller: dict[str, str]) -> None:
    """Run all blocks of a page in the working directory, as a reader would, Python in one namespace.

    Args:
        page: Markdown.
        smaller: texts of commands, and what the test runs in their place: fewer images or steps.
    """
    names: dict = {"__name__": page.stem.replace("-", "_")}
    for block in blocks(page):
        if not block.is_run:
            continue
        if block.language == "python":
            exec(compile(block.text, str(page), "exec"), names)
            continue
        for command in commands(block.text):
            for text, less in smaller.items():
                command = command.replace(text, less)
            run_command(command)


def commands(text: str) -> list[str]:
    """The commands of a block: lines, joined where they end in a backslash."""
    return [line for line in re.sub(r"\\\n *", "", text).splitlines() if line.strip() and not line.startswith("#")]


def run_command(command: str) -> None:
    """Run a command, one of vitjax in this process, which has imported and compiled much of it already."""
    words = shlex.split(command, comments=True)
    if words[0] == "vitjax":
        from vitjax.cli.main import main

        try:
            main(words[1:])
        except SystemExit as end:
            assert end.code in (0, None), command
        return
    command = re.sub(r"^python\b", shlex.quote(sys.executable), command)
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True, timeout=300)
