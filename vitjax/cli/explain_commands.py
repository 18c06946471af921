"""The subcommands explain and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vitjax.cli.arguments import (
    ImageFiles,
    Methods,
    OptionalText,
    Out,
    ProgressBar,
    check_images_given,
    method_requests,
    option,
)
from vitjax.cli.explain_arguments import PLAIN, ExplainArguments, ExplainOption
from vitjax.cli.figure_arguments import PLAIN as PLAIN_FIGURE
from vitjax.cli.figure_arguments import PLAIN_GRID, FigureArguments, FigureOption, GridOption
from vitjax.cli.model_arguments import DEFAULT, ModelArguments, ModelOption
from vitjax.output.terminal import say

if TYPE_CHECKING:
    from vitjax.cli.explain import CommandResult


def explain(
    images: ImageFiles,
    out: Out,
    model: ModelOption = DEFAULT,
    methods: Methods = (),
    options: ExplainOption = PLAIN,
    figure: FigureOption = PLAIN_FIGURE,
    pdf: bool = False,
    sheets: bool = False,
) -> None:
    """Explain images: one strip (photo | map | overlay) per image and method, and the raw maps as .npz.

    With several targets, each has its strip; a class-agnostic method has one per image, since its map is the same for
    every class.

    Args:
        images: image files to explain; of a folder, all images in it.
        out: directory to write, new or empty.
        methods: names, see `vitjax methods`, with options as in rollout:head_fusion=max,discard_ratio=0.9; module:name
            for one of your own; "all" for every method that is not slow and that the model can have, "everything" for
            slow ones, too. Rollout if not given.
        pdf: also write every strip as a vector PDF.
        sheets: also write one figure per image with the attention of every layer and head, or with the feature maps of
            a ResNet.
    """
    run = _explain_all(images, out, model, methods, "rollout", options, figure)
    with ProgressBar(
        sum(len(explanation.distinct) for explanation in run.explanations.values()), "strips"
    ) as on_progress:
        for explanation in run.explanations.values():
            run.files[explanation.label] = explanation.save(
                out, pdf=pdf, progress=on_progress, names=run.names, options=figure.options(), masks=run.masks
            )
    if sheets:
        run.save_sheets(pdf=pdf)
    run.finish("explain")


def compare(
    images: ImageFiles,
    out: Out,
    model: ModelOption = DEFAULT,
    methods: Methods = (),
    options: ExplainOption = PLAIN,
    figure: GridOption = PLAIN_GRID,
    pdf: bool = False,
    cnn: OptionalText = None,
    cnn_weights: Annotated[str | None, option(metavar="SOURCE")] = None,
) -> None:
    """Compare methods side by side: grid.png, a self-contained index.html, and the raw maps as .npz.

    Args:
        images: image files to explain; of a folder, all images in it.
        out: directory to write, new or empty.
        methods: names, as for `vitjax explain`; every method that is not slow if not given.
        pdf: also write the grid as a vector PDF.
        cnn: name of a ResNet (resnet50) whose Grad-CAM of layer4 and prediction are shown in the last column.
        cnn_weights: checkpoint file or hub id of the ResNet; its default weights if not given.
    """
    from vitjax import plots
    from vitjax.explaining.figure import overview
    from vitjax.report.compare_page import write_page

    run = _explain_all(images, out, model, methods, "all", options, figure, cnn, cnn_weights)
    say("drawing", error=True)
    drawn = figure.options()
    grid = overview(run.explanations, drawn, masks=run.masks, automatic_width=figure.width_mm is None)
    plots.save(grid, out / "grid.png", pdf=pdf)
    title = f"{len(run.explanations)} methods, {run.model.name}" + (f" and {cnn}" if cnn else "")
    write_page(out / "index.html", title, run.explanations, options=drawn, masks=run.masks)
    for explanation in run.explanations.values():
        run.files[explanation.label] = [explanation.save_arrays(out, names=run.names)]
    run.finish("compare")


def _explain_all(
    images: tuple[Path, ...],
    out: Path,
    model: ModelArguments,
    method_lists: Methods,
    default: str,
    options: ExplainArguments,
    figure: FigureArguments,
    cnn: str | None = None,
    cnn_weights: str | None = None,
) -> CommandResult:
    from vitjax.cli.explain import explain_images

    figure.options()
    check_images_given(images, methods=method_lists, target=options.target, templates=model.templates)
    return explain_images(
        images,
        out,
        model=model,
        methods=method_requests(method_lists, [default]),
        **options.settings(),
        progress=ProgressBar,
        cnn=cnn,
        cnn_weights=cnn_weights,
        figure=figure,
    )
