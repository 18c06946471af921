"""The demonstration: bundled model, bundled scenes with known truth, every method, scored."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitjax import plots
from vitjax.data.scenes import TEST_SEED, Scene, Scenes
from vitjax.explaining.explanation import Explanation, comparison
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.run import explain_many
from vitjax.methods import METHODS
from vitjax.metrics import energy_pointing_game, pointing_game
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.report.compare_page import write_page
from vitjax.rundir.manifest import open_directory, write_manifest


def run_demo(out: Path, *, scenes: int, scored: int, seed: int, overwrite: bool) -> str:
    """Write grid.png, strips, index.html, scores.csv and manifest.json to `out`; return the printed table."""
    out = open_directory(out, overwrite=overwrite)
    model = load("vitjax_scenes")
    pairs = Scenes(max(scenes, scored), seed=TEST_SEED, objects=2)
    images, targets, asked, other = object_questions(model, pairs)
    print(f"{len(pairs)} scenes with two objects, each explained for both", file=sys.stderr)
    requests = [{"method": name} for name, method in METHODS.items() if not method.slow]
    found = explain_many(model, images, requests, targets, batch_size=64, seed=seed)
    rows = score_table(found, asked, other)
    drawn = {label: first(each, 2 * scenes) for label, each in found.items()}
    plots.save(comparison(drawn), out / "grid.png")
    for each in drawn.values():
        each.save(out / "strips")
    note = (
        f"The bundled {model.name} model on scenes it has not seen. Every scene holds two objects and is explained "
        f"twice, once for each object's class. Scores over {len(pairs)} scenes, in percent, with 95 % intervals."
    )
    write_page(out / "index.html", "vitjax demo", drawn, scores=rows, note=note)
    write_manifest(out, "demo", model, {"scenes": scenes, "scored": scored, "seed": seed}, scores=rows)
    return _text_table(rows) + f"\n{out / 'grid.png'}\n{out / 'index.html'}"


def object_questions(model: Model, scenes: Iterable[Scene]) -> tuple[Images, list[int], np.ndarray, np.ndarray]:
    """Each two-object scene asked about both objects.

    Returns images, targets and the masks (bool [2·scenes, H, W]) of the object asked for and of the other one.
    """
    pixels, ids, targets, asked, other = [], [], [], [], []
    for scene in scenes:
        for i in (0, 1):
            pixels.append(scene.image)
            ids.append(f"scene{scene.index}_{model.label(int(scene.labels[i])).replace(' ', '_')}")
            targets.append(int(scene.labels[i]))
            asked.append(scene.masks[i])
            other.append(scene.masks[1 - i])
    images = replace(prepare(model, pixels), ids=tuple(ids))
    return images, targets, np.asarray(asked), np.asarray(other)


def score_table(found: dict[str, Explanation], asked: np.ndarray, other: np.ndarray) -> list[dict[str, Any]]:
    """One row a method: relevance on the object asked for, on the other one, and the pointing game, in percent."""
    energy = jax.jit(jax.vmap(energy_pointing_game))
    point = jax.jit(jax.vmap(pointing_game))
    rows = []
    for label, each in found.items():
        heatmap = each.pixels()
        kind = "class" if METHODS[each.method].class_specific else "no class"
        rows.append(
            {
                "method": label,
                "explains": kind,
                "relevance on asked object": _interval(energy(heatmap, asked)),
                "on the other": _interval(energy(heatmap, other)),
                "peak on asked object": _interval(point(heatmap, asked)),
                "degenerate": str(int(each.degenerate.sum())),
            }
        )
    area = asked.reshape(len(asked), -1).mean(axis=1)
    chance = {"method": "(share of the area)", "explains": "-", "relevance on asked object": _interval(area)}
    return [
        *rows,
        {**chance, "on the other": _interval(area), "peak on asked object": "-", "degenerate": "-"},
    ]


def first(explanation: Explanation, count: int) -> Explanation:
    """The first `count` images of an explanation."""
    return replace(
        explanation,
        maps=explanation.maps[:count],
        target=explanation.target[:count],
        logits=explanation.logits[:count],
        images=explanation.images.take(range(count)),
    )


def _interval(values: Any, resamples: int = 2000) -> str:
    """Mean with a 95 % percentile-bootstrap interval over scenes (both questions of a scene stay together)."""
    pairs = np.asarray(values, np.float64).reshape(-1, 2)
    per_scene = np.nanmean(pairs[np.isfinite(pairs).any(axis=1)], axis=1)
    draws = np.random.default_rng(0).integers(len(per_scene), size=(resamples, len(per_scene)))
    low, high = np.percentile(per_scene[draws].mean(axis=1), [2.5, 97.5])
    return f"{100 * per_scene.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _text_table(rows: Sequence[dict[str, Any]]) -> str:
    cells = [list(rows[0]), *[list(row.values()) for row in rows]]
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)
