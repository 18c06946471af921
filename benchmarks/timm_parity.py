"""Every model name of timm that loads, two blocks deep with random parameters, against timm itself.

Run:     python -m benchmarks.timm_parity [--names NAME ...]
Prints:  for each name the largest difference of the logits, relative to their largest value, and the seconds it took
Writes:  benchmarks/results/timm_parity.json, which the table of docs/models.md shows (`python -m docs.generate`); with
         --names, the other rows of that file are kept

Each architecture has its own width, heads, patch size and number of prefix tokens. Two blocks stand for its depth, ten
classes for its head, and images of six by five patches for its image size, where timm lets them be chosen. Every
parameter is drawn at random, so that no scale, bias or position has a value that hides a mistake.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import tyro

import vitjax
from benchmarks.harness import RESULTS
from vitjax.models import families
from vitjax.models.families import CNNS, find, table
from vitjax.nn.network import transformer
from vitjax.nn.vit_config import ViTConfig
from weights_convert.check import compare, import_timm

FILE = RESULTS / "timm_parity.json"


def reduced(name: str, **arguments: Any) -> Any:
    """timm's module of a name in eval mode with two blocks and a small image, and all its parameters random.

    Args:
        name: timm's name of an architecture.
        arguments: further arguments of timm's class, such as embed_dim.
    """
    timm = import_timm()
    config = _small(name)
    small = {"img_size": config.image_size}
    choices: list[dict[str, Any]] = [{"depth": 2, **small}, {"depth": 2}, small, {}]
    if name.startswith("gemma4"):  # which takes its image size from nowhere else
        arguments["pretrained_cfg_overlay"] = {"input_size": (3, *config.image_size)}
    if name.startswith("naflexvit"):  # where the grid of the position table is chosen
        choices.insert(0, {"depth": 2, "pos_embed_grid_size": (6, 5)})
    for index, choice in enumerate(choices):
        try:
            module = timm.create_model(name, pretrained=False, num_classes=config.num_classes, **choice, **arguments)
        except (TypeError, AssertionError, RuntimeError):
            if index + 1 == len(choices):
                raise
        else:
            return randomise(module)


def _small(name: str) -> ViTConfig:
    """The configuration of a name with two blocks, ten classes if it has a head, and a small image."""
    config = transformer(find(name).config, "the comparison", name)
    height, width = 6 * config.patch_size, 5 * config.patch_size
    if any(side % config.patch_size for side in config.image_size):  # whose last pixels belong to no patch
        height, width = height + 6, width + 6
    classes = 10 if config.num_classes or config.embedding else 0
    return replace(config, depth=2, image_size=(height, width), num_classes=classes, embedding=0)


def randomise(module: Any, seed: int = 0) -> Any:
    """Draw parameters and running statistics at random; outputs of layers stay of the order of their inputs."""
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(like: Any, spread: float) -> Any:
        return torch.empty_like(like).normal_(0, spread, generator=generator)

    with torch.no_grad():
        for key, parameter in module.named_parameters():
            is_matrix = parameter.ndim in (2, 4)
            is_scale = key.rsplit(".", 1)[-1] in ("gamma", "gamma_1", "gamma_2") or key.endswith("weight")
            offset = 1.0 if parameter.ndim == 1 and is_scale else 0.0
            spread = parameter[0].numel() ** -0.5 if is_matrix else 0.3
            parameter.copy_(normal(parameter, spread) + offset)
        for key, buffer in module.named_buffers():
            if key.endswith("running_mean"):
                buffer.copy_(normal(buffer, 0.1))
            elif key.endswith("running_var"):
                buffer.copy_(1 + normal(buffer, 0.2).abs())
    return module.eval()


def row(name: str) -> dict[str, Any]:
    """What was compared for a name, and how far vitjax and timm are apart."""
    model = vitjax.from_timm(module := reduced(name))
    config = transformer(model.config, "the comparison", name)
    images = np.random.default_rng(7).normal(size=(2, *config.image_size, 3)).astype(np.float32)
    report = compare(model, module, images)
    return {
        "depth": config.depth,
        "image": list(config.image_size),
        "outputs": config.num_classes or config.width,
        "blocks": max(difference.relative for difference in report.differences[:-1]),
        "logits": report.logits.relative,
    }


def main(names: tuple[str, ...] = ()) -> None:
    """Compare every name, or some, and store the differences."""
    known = [name for name in families.names() if name not in CNNS]
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"] if names and FILE.exists() else {}
    failed: list[str] = []
    for name in sorted(names or known, key=lambda name: repr(_small(name))):  # the same program is compiled once
        start = time.perf_counter()
        try:
            rows[name] = row(name)
        except Exception as error:  # of JAX or timm; the other names are compared nevertheless
            failed.append(name)
            print(f"{name:45s} {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
            continue
        print(f"{name:45s} {rows[name]['logits']:9.1e}  {time.perf_counter() - start:6.1f} s", flush=True)
        ordered = {each: rows[each] for each in known if each in rows}
        FILE.write_text(json.dumps({"timm": table()["timm"], "rows": ordered}, indent=1) + "\n", encoding="utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    tyro.cli(main)
