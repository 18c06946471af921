"""The subcommand `demo`: every quick method on the bundled model and scenes, scored against the true masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitjax import plots
from vitjax.data.scenes import TEST_SEED, Scene, Scenes
from vitjax.execution.arguments import check_seed, check_whole_number
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import overview
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.run import explain_many
from vitjax.methods import METHODS
from vitjax.metrics import energy_pointing_game, pointing_game
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.output.names import FileNames
from vitjax.output.terminal import say
from vitjax.report.compare_page import write_page
from vitjax.rundir.manifest import open_directory, write_manifest


def run_demo(out: Path, *, scenes: int, scored: int, seed: int, overwrite: bool) -> str:
    """Explain and score two-object scenes of the bundled model.

    Args:
        out: directory to write grid.png, strips/, index.html and manifest.json (with the scores) to.
        scenes: number of scenes to draw.
        scored: number of scenes to score; at least `scenes` are.
        seed: seed of the methods that draw random numbers.
        overwrite: whether `out` may contain files.

    Returns:
        The table of scores as text, and the paths of grid.png and index.html.

    Raises:
        ConfigError: a number is out of range.
        OutputError: `out` cannot be written, or is not empty.
    """
    check_whole_number("scenes", scenes, 1)
    check_whole_number("scored", scored, 0)
    check_seed(seed)
    out = open_directory(out, overwrite=overwrite)
    model = load("vitjax_scenes")
    two_object_scenes = Scenes(max(scenes, scored), seed=TEST_SEED, objects=2)
    images, targets, target_masks, other_masks = both_objects(model, two_object_scenes)
    say(f"{len(two_object_scenes)} scenes with two objects, each explained for both", error=True)
    requests = [{"method": name} for name, method in METHODS.items() if not method.slow]
    explanations = explain_many(model, images, requests, targets, batch_size=64, seed=seed)
    scores = score_table(explanations, target_masks, other_masks)
    drawn = {label: explanation[: 2 * scenes] for label, explanation in explanations.items()}
    plots.save(overview(drawn), out / "grid.png")
    names = FileNames()
    for explanation in drawn.values():
        explanation.save(out / "strips", names=names)
    note = (
        f"The bundled model {model.name} on scenes that it was not trained on. Every scene contains two objects and is "
        f"explained twice, once for each object's class. Scores are means over {len(two_object_scenes)} scenes in "
        f"percent, with 95 % confidence intervals."
    )
    write_page(out / "index.html", "vitjax demo", drawn, scores=scores, note=note)
    write_manifest(out, "demo", model, {"scenes": scenes, "scored": scored, "seed": seed}, scores=scores)
    return _text_table(scores) + f"\n{out / 'grid.png'}\n{out / 'index.html'}"


def both_objects(model: Model, scenes: Iterable[Scene]) -> tuple[Images, list[int], np.ndarray, np.ndarray]:
    """Every two-object scene twice: once with each object as the target.

    Returns:
        images [2·scenes], their target classes, the masks of the target objects and those of the other objects, both
        bool [2·scenes, H, W]. The two images of a scene are neighbours.
    """
    pixels, ids, targets, target_masks, other_masks = [], [], [], [], []
    for scene in scenes:
        for i in (0, 1):
            pixels.append(scene.image)
            ids.append(f"scene{scene.index}_{model.label(int(scene.labels[i])).replace(' ', '_')}")
            targets.append(int(scene.labels[i]))
            target_masks.append(scene.masks[i])
            other_masks.append(scene.masks[1 - i])
    images = replace(prepare(model, pixels), ids=tuple(ids))
    return images, targets, np.asarray(target_masks), np.asarray(other_masks)


def score_table(
    explanations: Mapping[str, Explanation], target_masks: np.ndarray, other_masks: np.ndarray
) -> list[dict[str, Any]]:
    """Localisation scores of each method, as the rows of a table.

    Args:
        explanations: by label, of the images of `both_objects`.
        target_masks, other_masks: bool [2·scenes, H, W].

    Returns:
        One row per method: the energy pointing game (share of the relevance) on the target object and on the other
        object, and the pointing game (share of the peaks) on the target object, in percent with 95 % intervals; the
        number of degenerate maps. The last row contains the share of the image that the target objects cover, the
        expected share of a map that is unrelated to the objects.
    """
    energy = jax.jit(jax.vmap(energy_pointing_game))
    peak = jax.jit(jax.vmap(pointing_game))
    rows = []
    for label, explanation in explanations.items():
        heatmaps = explanation.pixels()
        kind = "class" if METHODS[explanation.method].class_specific else "no class"
        rows.append(
            {
                "method": label,
                "explains": kind,
                "relevance on target object": _mean_and_interval(energy(heatmaps, target_masks)),
                "on other object": _mean_and_interval(energy(heatmaps, other_masks)),
                "maximum on target object": _mean_and_interval(peak(heatmaps, target_masks)),
                "degenerate": str(int(explanation.degenerate.sum())),
            }
        )
    area = target_masks.reshape(len(target_masks), -1).mean(axis=1)
    chance = {"method": "(share of the area)", "explains": "-", "relevance on target object": _mean_and_interval(area)}
    return [
        *rows,
        {**chance, "on other object": _mean_and_interval(area), "maximum on target object": "-", "degenerate": "-"},
    ]


def _mean_and_interval(values: Any, resamples: int = 2000) -> str:
    """Mean in percent and its 95 % percentile bootstrap interval.

    The bootstrap resamples scenes, since the two images of a scene are not independent.
    """
    pairs = np.asarray(values, np.float64).reshape(-1, 2)
    per_scene = np.nanmean(pairs[np.isfinite(pairs).any(axis=1)], axis=1)
    draws = np.random.default_rng(0).integers(len(per_scene), size=(resamples, len(per_scene)))
    low, high = np.percentile(per_scene[draws].mean(axis=1), [2.5, 97.5])
    return f"{100 * per_scene.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _text_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [list(rows[0]), *[list(row.values()) for row in rows]]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
