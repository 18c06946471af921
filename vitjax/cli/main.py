"""The command line: one thin function for each subcommand. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vitjax.cli import evaluate as cli_evaluation
from vitjax.cli.arguments import ExifOption, ImageFiles, Methods, Out, ProgressBar, Targets, method_requests
from vitjax.cli.model_arguments import DEFAULT, ModelArguments, ModelOption
from vitjax.errors import VitjaxError
from vitjax.execution.stopping import SignalsEndThis
from vitjax.output.terminal import accept_all_characters, say

if TYPE_CHECKING:
    from vitjax.cli.explain import CommandResult


def explain(
    images: ImageFiles,
    out: Out,
    model: ModelOption = DEFAULT,
    methods: Methods = ("rollout",),
    target: Targets = (),
    dtype: str = "float32",
    batch_size: int = 16,
    seed: int = 0,
    exif: ExifOption = "apply",
    pdf: bool = False,
    sheets: bool = False,
    overwrite: bool = False,
) -> None:
    """Explain images: one strip (photo | map | overlay) per image and method, and the raw maps as .npz.

    Args:
        images: image files to explain; of a folder, all images in it.
        out: directory to write, new or empty.
        methods: names, with options as in rollout:head_fusion=max,discard_ratio=0.9; "all" is every method that is not
            slow and that the model can have, "everything" includes the slow ones.
        target: class number, class name, "top2" (the second most probable class), "topK" (each of the K most probable
            ones), "A - B" (a difference), or "text:WORDS" of CLIP or SigLIP; several give one map each. The predicted
            class if not given. For a model without a head, the number of a feature.
        dtype: float32, bfloat16, or float64 (with JAX_ENABLE_X64=1).
        batch_size: images in one device call.
        seed: seed of methods that draw random numbers.
        exif: "apply" turns photos upright by their EXIF orientation; "ignore" takes them as stored, as evaluations do.
        pdf: also write vector PDFs.
        sheets: also write one figure per image with the attention of every layer and head, or with the feature maps of
            a ResNet.
        overwrite: write into a directory that is not empty; files of the same name are replaced.
    """
    run = _explain_all(images, out, model, methods, target, dtype, batch_size, seed, overwrite, exif)
    with ProgressBar(sum(map(len, run.explanations.values())), "strips") as on_progress:
        for explanation in run.explanations.values():
            run.files[explanation.label] = explanation.save(out, pdf=pdf, progress=on_progress, names=run.names)
    if sheets:
        run.save_sheets(pdf=pdf)
    run.finish("explain")


def compare(
    images: ImageFiles,
    out: Out,
    model: ModelOption = DEFAULT,
    methods: Methods = ("all",),
    target: Targets = (),
    dtype: str = "float32",
    batch_size: int = 16,
    seed: int = 0,
    exif: ExifOption = "apply",
    pdf: bool = False,
    overwrite: bool = False,
    cnn: str | None = None,
    cnn_weights: str | None = None,
) -> None:
    """Compare methods side by side: grid.png and a self-contained index.html. Other arguments are those of `explain`.

    Args:
        cnn: name of a ResNet (resnet50) whose Grad-CAM of layer4 and prediction are shown in the last column.
        cnn_weights: checkpoint file or hub id of the ResNet; its default weights if not given.
    """
    from vitjax import plots
    from vitjax.explaining.figure import overview
    from vitjax.report.compare_page import write_page

    run = _explain_all(images, out, model, methods, target, dtype, batch_size, seed, overwrite, exif, cnn, cnn_weights)
    say("drawing", error=True)
    plots.save(overview(run.explanations), out / "grid.png", pdf=pdf)
    title = f"{len(run.explanations)} methods, {run.model.name}" + (f" and {cnn}" if cnn else "")
    write_page(out / "index.html", title, run.explanations)
    for explanation in run.explanations.values():
        run.files[explanation.label] = [explanation.save_arrays(out, names=run.names)]
    run.finish("compare")


def demo(out: Out, scenes: int = 4, scored: int = 200, seed: int = 0, overwrite: bool = False) -> None:
    """Explain bundled scenes with the bundled model, and score every quick method against the true masks. Offline.

    Args:
        out: directory to write, new or empty.
        scenes: number of two-object scenes to draw.
        scored: number of two-object scenes to score.
        seed: seed of methods that draw random numbers.
        overwrite: write into a directory that is not empty; files of the same name are replaced.
    """
    from vitjax.cli.demo import run_demo

    say(run_demo(out, scenes=scenes, scored=scored, seed=seed, overwrite=overwrite))


def methods() -> None:
    """List every method: name, level, cost in forwards (F) and backwards (B), options, citation."""
    from vitjax.methods import METHODS

    for name, method in METHODS.items():
        options = ", ".join(f"{option}={value}" for option, value in method.options.items())
        slow = ", slow" if method.slow else ""
        kind = "class-specific" if method.class_specific else "class-agnostic"
        kind += ", also on a ResNet and on a function" if method.cnn is not None else ""
        say(f"{name}\n  {method.title}: {kind}, {method.level_of(method.options)} level, cost {method.cost}{slow}")
        say(f"  options: {options or 'none'}\n  {method.cite}")
    say(
        "\n--methods all: every method that is not slow; --methods everything: slow methods, too; what the model "
        "cannot have is left out"
    )


def models(pattern: Annotated[str, tyro.conf.Positional] = "", refused: bool = False) -> None:
    """List models by name: image size, parameters, tokens, normalisation, whether there is a text tower, tags.

    Args:
        pattern: only names and tags that contain this text, as in `vitjax models dinov2`; each tag has its own line.
        refused: list timm's names that do not load, with the reason.
    """
    from vitjax.cli.models import listing

    for line in listing(pattern, refused):
        say(line)


VERIFIED = ModelArguments(model="deit_tiny_patch16_224")


def verify(
    model: ModelOption = VERIFIED,
    methods: Methods = (),
    images: int = 2,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> None:
    """Compare logits, every block and methods with PyTorch on the same weights. Exit code 1 if beyond the tolerance.

    Args:
        methods: names or "all"; their float32 maps are compared with the same formulas on PyTorch's gradients in
            float64 (pip install 'vitjax[verify]'). Methods that sample or optimise have no formula to compare with.
        images: number of random inputs.
        seed: seed of the inputs.
        tolerance: for methods, the largest max |difference| / max |reference| that passes.
    """
    from vitjax.cli.verify import verify_against_timm

    report, passed = verify_against_timm(model, method_requests(methods), images, seed, tolerance)
    say(report)
    if not passed:
        raise SystemExit(1)


def check_method(method: Annotated[str, tyro.conf.Positional]) -> None:
    """Check a user-defined method: shape, finiteness, batch invariance, jit = eager, dependence on the target.

    Args:
        method: module:name of a vitjax.Method, for example my_methods:my_method
    """
    from vitjax.cli.check_method import check_method as check

    checks = check(method)
    for name, passed, detail in checks:
        say(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}")
    if not all(passed for _, passed, _ in checks):
        raise SystemExit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "explain": explain,
    "compare": compare,
    "methods": methods,
    "models": models,
    "verify": verify,
    "check-method": check_method,
    "evaluate": cli_evaluation.evaluate,
    "report": cli_evaluation.report,
    "status": cli_evaluation.status,
    "metrics": cli_evaluation.metrics,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 success; 1 failure, with one line on stderr or a failed check; 2 invalid arguments; 3 an evaluation
    left chunks open; 128 + n ended by signal n: 130 SIGINT (Ctrl-C), 143 SIGTERM, 129 SIGHUP.

    Args:
        arguments: without the program's name; None takes `sys.argv[1:]`, and signals then end this process.
    """
    accept_all_characters()
    if arguments is not None:
        _run(arguments)
        return
    with SignalsEndThis() as signals:
        try:
            _run(arguments)
        except BaseException:  # a library may have made another exception of the signal's
            if signals.received is None:
                raise
            say(
                f"vitjax: stopped by {signals.received.name}; what is finished is kept, and the same command goes on "
                "with an evaluation",
                error=True,
            )
            signals.end()


def _run(arguments: list[str] | None) -> None:
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="vitjax", description="Explain Vision Transformers.", args=arguments
        )
    except VitjaxError as error:
        raise SystemExit(_failed(str(error))) from None
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(_failed(f"{where}{error.strerror or error}")) from None
    except MemoryError:
        raise SystemExit(_failed("out of memory; try a smaller --batch-size or --chunk-size")) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _failed(message: str) -> int:
    say(f"vitjax: error: {message}", error=True)
    return 1


def _explain_all(
    images: tuple[Path, ...],
    out: Path,
    model: ModelArguments,
    methods: tuple[str, ...],
    target: tuple[str, ...],
    dtype: str,
    batch_size: int,
    seed: int,
    overwrite: bool,
    exif: str,
    cnn: str | None = None,
    cnn_weights: str | None = None,
) -> CommandResult:
    from vitjax.cli.arguments import parse_targets
    from vitjax.cli.explain import explain_images

    return explain_images(
        images,
        out,
        model=model,
        methods=method_requests(methods),
        target=parse_targets(target),
        dtype=dtype,
        batch_size=batch_size,
        seed=seed,
        overwrite=overwrite,
        exif=exif,  # type: ignore[arg-type]
        progress=ProgressBar,
        cnn=cnn,
        cnn_weights=cnn_weights,
    )


if __name__ == "__main__":
    main()
