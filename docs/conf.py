"""Sphinx configuration: `make docs` builds the site into docs/_build/html, offline, with warnings as errors.

The source folder is the repository, so that links between docs/, examples/ and the pages beside them are the same files
on the site as in a checkout.
"""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs.rst import SECTIONS, as_rst  # noqa: E402 - after the path to it
from vitjax import __version__  # noqa: E402

project = "vitjax"
author = "the vitjax authors"
copyright = "the vitjax authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "examples/*.ipynb",
    "benchmarks/README.md",
    "benchmarks/NOTES.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/_build", ".venv*", ".git", ".*_cache", "build", "dist", "out", "runs", "**/__pycache__"]

html_theme = "furo"
html_title = f"vitjax {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_custom_sections = SECTIONS
napoleon_use_ivar = True  # fields of a class as a list, not as an entry of its own for each
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    app.connect("autodoc-process-signature", lambda app, what, *_: ("", None) if what == "class" else None)
    app.add_lexer("mermaid", TextLexer)  # diagrams of ARCHITECTURE.md, which Pygments does not know
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon's, which is 500
