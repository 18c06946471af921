"""The training commands: `python -m vitjax.train finetune | scenes | evaluate`."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from vitjax.cli.arguments import Count, Out, Seed, one_line_help, option
from vitjax.errors import VitjaxError
from vitjax.execution.arguments import check_whole_number
from vitjax.execution.stopping import resumes, until_a_signal
from vitjax.models.load import BUNDLED, load
from vitjax.nn.network import transformer
from vitjax.output.terminal import say
from vitjax.train import folder as folders
from vitjax.train.recipe import TrainConfig
from vitjax.train.scenes import evaluate_scenes, train_scenes
from weights_convert.checkpoint import write_checkpoint

CHECKPOINT_EVERY = 250
"""Steps between two checkpoints of `finetune`."""


def finetune(
    model: Annotated[str, tyro.conf.Positional, option(metavar="MODEL", help_behavior_hint="(required)")],
    folder: Annotated[Path, tyro.conf.Positional, option(metavar="FOLDER", help_behavior_hint="(required)")],
    /,
    out: Out,
    steps: Count = 1000,
    batch_size: Count = 64,
    learning_rate: Annotated[float, option(metavar="X")] = 1e-4,
    flip: bool = True,
    seed: Seed = 0,
) -> None:
    """Fine-tune all weights of a ViT on a folder of images, one sub-folder for each class.

    The result is DIR/model (weights, class names, preprocessing): `vitjax explain IMG --model DIR/model -o OUT`
    explains it. Its head is new unless the number of classes stays the same. Images are also shifted and their colours
    changed a little, at random.

    Rerunning the command with the same options resumes the run from its last checkpoint; there is one every 250 steps.

    Args:
        model: the model to start from, as --model of `vitjax explain`: a name (see `vitjax models`), a checkpoint file,
            a folder or a hub id.
        folder: the training images, FOLDER/CLASS/IMAGE. The sub-folders in alphabetical order are the classes 0, 1, 2
            ..., and their names are the names of the classes.
        out: directory to write, or to resume: checkpoints, log.jsonl (loss and share of correct predictions between two
            checkpoints) and model, the result.
        steps: number of training steps. A pass over all images takes (number of images / batch size) of them.
        batch_size: images in one training step; memory and the time of a step grow with it.
        learning_rate: of AdamW, at its peak: it rises from 0 over the first tenth of the steps, then falls to 1 % of
            the peak. Smaller if the loss in log.jsonl rises; larger if it hardly falls.
        flip: mirror half of the images left to right, at random; --no-flip for what has a left and a right, such as
            digits and letters.
        seed: of the order of the images, and of the random changes to them; a whole number.

    Raises:
        WeightsError, UnknownNameError: as `vitjax.load`.
        ConfigError, ImageError: as `vitjax.train.finetune`.
    """
    resumes(out)
    check_whole_number("steps", steps, 1)
    check_whole_number("batch_size", batch_size, 1)
    start = load(model)
    recipe = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=max(1, steps // 10),
        flip=flip,
        checkpoint_every=min(CHECKPOINT_EVERY, steps),
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


def scenes(out: Annotated[Path, option(name="out", aliases=["-o"], metavar="DIR")] = Path("runs/scenes")) -> None:
    """Train the bundled model again, from random weights: 15,500 steps of 32 drawn scenes, an hour on two cores.

    Rerunning the command resumes the run from its last checkpoint; there is one every 250 steps.

    Args:
        out: directory to write, or to resume: checkpoints and log.jsonl of both stages, and vitjax_scenes.safetensors,
            the weights, which the other commands take as weights of the model vitjax_scenes.
    """
    resumes(out)
    path, scores = train_scenes(out)
    say(f"{path}  largest object recognised: {scores['largest']:.2%}")


def evaluate(
    weights: Annotated[Path | None, option(metavar="FILE")] = None, n: Annotated[int, option(metavar="N")] = 10_000
) -> None:
    """Score weights of the bundled model on scenes that training never drew, and print shares of 0 to 1 as JSON.

    Args:
        weights: the vitjax_scenes.safetensors that `scenes` wrote; the bundled weights if not given.
        n: number of scenes; 1,000 take some seconds.
    """
    check_whole_number("n", n, 1)
    say(json.dumps(evaluate_scenes(load(BUNDLED, weights).logits, n), indent=1))


COMMANDS: dict[str, Callable[..., None]] = {"finetune": finetune, "scenes": scenes, "evaluate": evaluate}
DESCRIPTION = (
    "Train and fine-tune Vision Transformers. `python -m vitjax.train COMMAND --help` describes a command; for a model "
    "of your own, start with finetune."
)


def main(arguments: list[str] | None = None) -> None:
    """Run `python -m vitjax.train`. Errors that a user can cause are one line, with exit status 1.

    Args:
        arguments: without the program's name; None takes `sys.argv[1:]`, and signals then end this process.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    for chatty in ("absl", "jax"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if arguments is None:
        until_a_signal(lambda: _run(sys.argv[1:]))
    else:
        _run(arguments)


def _run(arguments: list[str]) -> None:
    brief = arguments[:1] not in [[name] for name in COMMANDS]
    commands = {name: one_line_help(command, brief=brief) for name, command in COMMANDS.items()}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="python -m vitjax.train", description=DESCRIPTION, args=arguments or ["--help"]
        )
    except (VitjaxError, FloatingPointError) as error:
        say(f"error: {error}", error=True)
        raise SystemExit(1) from None
