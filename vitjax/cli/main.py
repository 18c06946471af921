"""The command line: one thin function per sub-command. Results on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import tyro

from vitjax.cli import evaluate as cli_evaluation
from vitjax.cli.arguments import Methods, Out, Pictures, Progress, class_of, method_requests
from vitjax.errors import ConfigError, VitjaxError


def explain(
    images: Pictures,
    out: Out,
    model: str = "vitjax_scenes",
    weights: str | None = None,
    methods: Methods = ("rollout",),
    target: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    seed: int = 0,
    pdf: bool = False,
    sheets: bool = False,
    overwrite: bool = False,
) -> None:
    """Heatmaps of photos: a strip (photo | map | overlay) per image and method, raw maps as .npz.

    Args:
        images: pictures to explain.
        out: directory to write, new or empty.
        model: name of a model, see `vitjax models`.
        weights: checkpoint file, checkpoint directory or hub id; the model's default otherwise.
        methods: names, with options as in rollout:head_fusion=max,discard_ratio=0.9; "all" is every method that is not
            slow, "everything" the slow ones, too.
        target: class number or name, or "top2"; the predicted class otherwise.
        dtype: float32, bfloat16, or float64 (with JAX_ENABLE_X64=1).
        batch_size: images per device call.
        seed: of methods that draw random numbers.
        pdf: also write vector PDFs.
        sheets: also draw every layer's and head's attention, or a ResNet's feature maps, one sheet per image.
        overwrite: write into a directory that is not empty.
    """
    run = _explain_all(images, out, model, weights, methods, target, dtype, batch_size, seed, overwrite)
    with Progress(len(run.explanations) * len(run.images), "pictures") as on_progress:
        for each in run.explanations.values():
            each.save(out, pdf=pdf, progress=on_progress)
    if sheets:
        run.save_sheets(pdf=pdf)
    run.finish("explain")


def compare(
    images: Pictures,
    out: Out,
    model: str = "vitjax_scenes",
    weights: str | None = None,
    methods: Methods = ("all",),
    target: str | None = None,
    dtype: str = "float32",
    batch_size: int = 16,
    seed: int = 0,
    pdf: bool = False,
    overwrite: bool = False,
    cnn: str | None = None,
    cnn_weights: str | None = None,
) -> None:
    """Methods side by side: grid.png and a self-contained index.html. Other arguments as for `explain`.

    Args:
        cnn: a ResNet whose Grad-CAM (of layer4) stands in a last column, with its own prediction: resnet50.
        cnn_weights: its checkpoint file or hub id; the default otherwise.
    """
    from vitjax import plots
    from vitjax.explaining.explanation import comparison
    from vitjax.report.compare_page import write_page

    run = _explain_all(
        images, out, model, weights, methods, target, dtype, batch_size, seed, overwrite, cnn, cnn_weights
    )
    print("drawing", file=sys.stderr)
    plots.save(comparison(run.explanations), out / "grid.png", pdf=pdf)
    title = f"{len(run.explanations)} methods, {run.model.name}" + (f" and {cnn}" if cnn else "")
    write_page(out / "index.html", title, run.explanations)
    for each in run.explanations.values():
        each.save_arrays(out)
    run.finish("compare")


def demo(out: Out, scenes: int = 4, scored: int = 200, seed: int = 0, overwrite: bool = False) -> None:
    """See it work: the bundled model explains bundled scenes, scored against their true masks. No network.

    Args:
        out: directory to write, new or empty.
        scenes: number of two-object scenes to draw.
        scored: number of two-object scenes to score.
        seed: of methods that draw random numbers.
        overwrite: write into a directory that is not empty.
    """
    from vitjax.cli.demo import run_demo

    print(run_demo(out, scenes=scenes, scored=scored, seed=seed, overwrite=overwrite))


def methods() -> None:
    """Every explainer: name, level, cost in forwards (F) and backwards (B), options, citation."""
    from vitjax.methods import METHODS

    for name, method in METHODS.items():
        options = ", ".join(f"{key}={value}" for key, value in method.options.items())
        slow = ", slow" if method.slow else ""
        kind = "class-specific" if method.class_specific else "class-agnostic"
        kind += ", on a ResNet, too" if method.cnn is not None else ""
        print(f"{name}\n  {method.title}: {kind}, {method.level_of(method.options)} level, cost {method.cost}{slow}")
        print(f"  options: {options or 'none'}\n  {method.cite}")
    print("\n--methods all: every method that is not slow; --methods everything: the slow ones, too")


def models() -> None:
    """Every model: name, size, parameters."""
    from vitjax.models.load import entries
    from vitjax.nn.network import parameter_count
    from vitjax.nn.vit_config import ViTConfig

    for name, entry in entries().items():
        config = entry.config
        kind = f"patch {config.patch_size:2d}" if isinstance(config, ViTConfig) else "ResNet"
        print(
            f"{name:45s} {config.image_size[0]:4d} px  {kind:8s}  "
            f"{parameter_count(config) / 1e6:8.2f} M  {config.num_classes or 'no'} classes"
        )


def verify(
    model: str = "deit_tiny_patch16_224",
    weights: str | None = None,
    against: str = "timm",
    methods: Methods = (),
    images: int = 2,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> None:
    """Parity with PyTorch on the same weights: logits, every block, and methods. Exit code 1 beyond tolerance.

    Args:
        model: a timm name.
        weights: checkpoint; the model's default otherwise.
        against: "timm".
        methods: names or "all": maps against formulas on PyTorch's own gradients in float64 (from a source checkout,
            where tests/oracles holds them).
        images: number of random inputs.
        seed: of the inputs.
        tolerance: of methods, max |difference| / max |reference| in the model's float32.
    """
    from vitjax.cli.verify import verify_against_timm

    if against != "timm":
        raise ConfigError(f"--against {against!r}: only 'timm' is there to compare with")
    report, passed = verify_against_timm(model, weights, method_requests(methods, model), images, seed, tolerance)
    print(report)
    if not passed:
        raise SystemExit(1)


def check_method(method: Annotated[str, tyro.conf.Positional]) -> None:
    """Check a method of your own: shape, finiteness, jit = eager, batch invariance, targets under vmap.

    Args:
        method: module:name of a vitjax.Method, for example my_methods:my_method
    """
    from vitjax.cli.check_method import check_method as check

    rows = check(method)
    for name, passed, detail in rows:
        print(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}")
    if not all(passed for _, passed, _ in rows):
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
    """Entry point. Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong arguments."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="vitjax", description="Explain Vision Transformers.", args=arguments
        )
    except VitjaxError as error:
        print(f"vitjax: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _explain_all(
    images, out, model, weights, methods, target, dtype, batch_size, seed, overwrite, cnn=None, cnn_weights=None
):
    from vitjax.cli.explain import explain_pictures

    return explain_pictures(
        images,
        out,
        model=model,
        weights=weights,
        methods=method_requests(methods, model),
        target=class_of(target),
        dtype=dtype,
        batch_size=batch_size,
        seed=seed,
        overwrite=overwrite,
        progress=Progress,
        cnn=cnn,
        cnn_weights=cnn_weights,
    )


if __name__ == "__main__":
    main()
