"""The training commands: `python -m vitjax.train finetune | scenes | evaluate`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from vitjax.errors import VitjaxError
from vitjax.execution.arguments import check_whole_number
from vitjax.models.load import load
from vitjax.nn.network import transformer
from vitjax.output.terminal import say
from vitjax.train import folder as folders
from vitjax.train import scenes
from vitjax.train.recipe import TrainConfig
from weights_convert.checkpoint import write_checkpoint


def finetune(
    model: Annotated[str, tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")],
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    flip: bool = True,
    seed: int = 0,
) -> None:
    """Fine-tune all weights of a ViT on a folder of images. Rerunning the command resumes the run.

    DIR/model is the result, which `vitjax ... --model DIR/model` reads: weights, class names and preprocessing.

    Args:
        model: what --model of the other commands takes: name, file, folder or hub id.
        folder: FOLDER/CLASS/IMAGE; the classes are the sub-folders in alphabetical order.
        out: directory of checkpoints, of log.jsonl and of the result.
        steps: number of training steps, of `batch_size` images each.
        batch_size: images in one step.
        learning_rate: peak value, after a warm-up over the first tenth of the steps.
        flip: mirror images at random; turn it off where left and right differ, as for digits.
        seed: of the order of the images and of the augmentation.

    Raises:
        WeightsError, UnknownNameError: as `vitjax.load`.
        ConfigError, ImageError: as `vitjax.train.finetune`.
    """
    check_whole_number("steps", steps, 1)
    check_whole_number("batch_size", batch_size, 1)
    start = load(model)
    recipe = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=max(1, steps // 10),
        flip=flip,
        checkpoint_every=min(250, steps),
        seed=seed,
    )
    tuned = folders.finetune(start, folder, recipe, out)
    result = out / "model"
    if result.exists():  # of an earlier call, with the same recipe
        shutil.rmtree(result)
    config = transformer(tuned.config, "finetune", tuned.name)
    write_checkpoint(
        result,
        tuned.params,
        config,
        "",
        {"path": model, "sha256": str(start.weights.get("sha256", ""))},
        class_names=None if tuned.labels is None else tuned.labels.names,
        preprocessing=tuned.preprocessing,
    )
    say(f"{result}  {config.num_classes} classes")


COMMANDS: dict[str, Callable[..., None]] = {"finetune": finetune, "scenes": scenes.scenes, "evaluate": scenes.evaluate}


def main() -> None:
    """Run `python -m vitjax.train`. Errors that a user can cause are one line, with exit status 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    for chatty in ("absl", "jax"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m vitjax.train", description="Train and fine-tune Vision Transformers."
        )
    except (VitjaxError, FloatingPointError) as error:
        say(f"error: {error}", error=True)
        raise SystemExit(1) from None
