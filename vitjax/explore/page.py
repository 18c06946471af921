"""The page: template, styles and scripts joined into one HTML file that works without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import OutputError
from vitjax.explore.embedded import Arrays, model_entry, view_entry
from vitjax.explore.view import Explored
from vitjax.output.files import write_text
from vitjax.plots.overlay import DIVERGING, OPACITY, PALEST, SEQUENTIAL, scheme
from vitjax.rundir.manifest import model_record, versions
from vitjax.storage import check_local

SCRIPTS = (
    *("data.js", "attention.js", "drawing.js", "curve.js"),
    *("attention_panel.js", "attention_view.js", "method_panel.js", "method_view.js", "main.js"),
)
"""In the order of their use; together they are one script of strict mode."""


def check_out(path: Path, *, overwrite: bool) -> None:
    """Check where a page goes, before anything is computed.

    Raises:
        OutputError: not the name of an HTML file; it exists and may not be overwritten; its folder does not exist; or
            an address of an object store.
    """
    check_local(path, "page")
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: the page is one HTML file; its name must end in .html")
    if path.is_dir():
        raise OutputError(f"{path}: is a directory, not a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; pass another -o or --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the directory {path.parent} does not exist")


def write_page(path: Path, explored: Sequence[Explored]) -> Path:
    """Write the page to `path`. It embeds everything and is forbidden to load anything, by its own policy.

    Args:
        path: the HTML file.
        explored: one model, or several of the same images, which the page shows side by side.

    Returns:
        `path`.

    Raises:
        OutputError: the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> from vitjax.explaining.inputs import prepare
        >>> from vitjax.explore import explore_images, write_page
        >>> from vitjax.explore.view import plan
        >>> explored = explore_images(plan(model, ["rollout"], curves=False), prepare(model, image))
        >>> write_page(pathlib.Path(tempfile.mkdtemp()) / "page.html", [explored]).stat().st_size > 100_000
        True
    """
    return write_text(path, rendered(explored))


def rendered(explored: Sequence[Explored]) -> str:
    """The HTML of `write_page`."""
    import jinja2

    arrays = Arrays()
    first = explored[0]
    contents = {
        "images": list(first.images.ids),
        "models": [model_entry(view) for view in explored],
        "views": [[view_entry(view, image, arrays) for view in explored] for image in range(len(first.images))],
        "colours": {name: _colours(scheme_name) for name, scheme_name in _SCHEMES.items()},
        "overlay": {"opacity": OPACITY, "palest": PALEST},
        "about": [_about(view) for view in explored],
    }
    script = "(async () => {\n" + "".join(map(_template, SCRIPTS)) + "})();\n"
    style = _template("style.css")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_template("page.html"))
    several = f" and {len(first.images) - 1} more" if len(first.images) > 1 else ""
    return page.render(
        title=f"{first.images.ids[0]}{several}, {' and '.join(view.model.name for view in explored)}",
        policy=f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'",
        style=jinja2.utils.markupsafe.Markup(style),
        script=jinja2.utils.markupsafe.Markup(script),
        contents=jinja2.utils.htmlsafe_json_dumps(contents, allow_nan=False),
        arrays=arrays.texts,
    )


_SCHEMES = {"sequential": SEQUENTIAL, "diverging": DIVERGING}


def _colours(name: str) -> list[list[int]]:
    """256 colours, uint8 [256, 3]."""
    table = np.asarray(scheme(name)(np.arange(256)))[:, :3]
    return np.rint(255 * table).astype(int).tolist()


def _about(explored: Explored) -> dict[str, Any]:
    """What the foot of the page says of a model: weights, preprocessing, versions."""
    record = model_record(explored.model)
    weights = {key: str(value) for key, value in record["weights"].items() if value not in (None, "", {}, [])}
    preprocessing = ", ".join(f"{key} {value}" for key, value in record["preprocessing"].items())
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
    return {"model": record["name"], "weights": weights, "preprocessing": preprocessing, "versions": packages}


def _template(name: str) -> str:
    return resources.files("vitjax.explore").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The source of a script or style in a Content-Security-Policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
