"""The subcommand `explore`: one HTML page to explore images with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vitjax.cli.arguments import (
    Count,
    Dtype,
    ExifOption,
    ImageFiles,
    Methods,
    ProgressBar,
    Seed,
    Targets,
    check_images_given,
    method_requests,
    option,
    parse_targets,
)
from vitjax.cli.model_arguments import DEFAULT, ModelArguments, ModelOption
from vitjax.errors import ConfigError
from vitjax.output.terminal import say
from vitjax.output.wording import counted

Page = Annotated[Path, option(name="out", aliases=["-o"], metavar="FILE.html")]
NONE = ModelArguments(model="")
LARGEST = 256 * 2**20
"""Size of the attention in a page [bytes] beyond which browsers fail to load it."""


def explore(
    images: ImageFiles,
    out: Page = Path("explore.html"),
    model: ModelOption = DEFAULT,
    beside: ModelArguments = NONE,
    methods: Methods = (),
    target: Targets = (),
    heads: Annotated[str, option(metavar="all|mean")] = "all",
    curves: bool = True,
    dtype: Dtype = "float32",
    batch_size: Count = 16,
    seed: Seed = 0,
    exif: ExifOption = "apply",
    overwrite: bool = False,
) -> None:
    """Write one HTML page to explore images with: attention patch by patch, rollout, methods, classes, removed pixels.

    The page is one file that works without a network, in browsers since 2023.

    Args:
        images: image files to explore; of a folder, all images in it.
        out: the page; its name ends in .html.
        beside: a second model, shown beside the first: --beside.model, --beside.weights and so on.
        methods: names, with options as in rollout:head_fusion=max; "all" is every method that is not slow. If not given
            rollout, grad_rollout, transformer_mm, legrad and attn_lrp of a transformer, and grad_cam, gradient_x_input
            and saliency of other models.
        target: class number, class name, "topK", "A - B" or "text:WORDS", as for `vitjax explain`; several can be
            given. The three most probable classes if not given.
        heads: "all" embeds the attention of every head, "mean" only their mean: smaller pages of large models.
        curves: compute probabilities while the most and the least relevant pixels are removed, 38 forwards for each
            map.
        dtype: of the model's numbers; float64 needs JAX_ENABLE_X64=1 in the environment.
        batch_size: images in one device call; memory grows with it, results do not change.
        seed: seed of methods that draw random numbers, and of the order of pixels of equal relevance.
        exif: "apply" turns photos upright by their EXIF orientation; "ignore" takes them as stored.
        overwrite: replace the page if it exists.
    """
    from vitjax.cli.explain import images_of
    from vitjax.explaining.inputs import prepare
    from vitjax.explore.page import check_out, write_page
    from vitjax.explore.view import explore_images, plan
    from vitjax.images.reading import check_images

    check_out(out, overwrite=overwrite)
    check_images_given(images, methods=methods, target=target)
    if beside != NONE and not beside.model:
        raise ConfigError("--beside.model is missing: it names the second model, or its file")
    files, chosen = images_of(images), parse_targets(target)
    check_images(files)
    model.check_images(files)
    wanted = []
    for arguments in (model,) if beside == NONE else (model, beside):
        asked = method_requests(methods) if methods else None
        loaded = arguments.load(dtype)
        wanted.append(
            plan(loaded, asked, chosen, heads=heads, curves=curves, required=arguments is model)  # type: ignore[arg-type]
        )
    prepared = [prepare(part.model, list(files), exif=exif, skip_damaged=True) for part in wanted]  # type: ignore[arg-type]
    for line in prepared[0].remarks():
        say(line, error=True)
    for record in prepared[0].skipped:
        say(f"skipped: {record['cause']}", error=True)
    count = len(prepared[0])
    size = sum(part.bytes(count) for part in wanted)
    if size > LARGEST:
        raise ConfigError(
            f"the attention of {count} images takes {size / 2**20:.0f} MiB, more than the {LARGEST / 2**20:.0f} MiB "
            f"that browsers load; give fewer images{' or --heads mean' if heads == 'all' else ''}"
        )
    with ProgressBar(sum(part.steps(count) for part in wanted), "steps") as on_progress:
        explored = [
            explore_images(part, of_model, batch_size=batch_size, seed=seed, on_progress=on_progress)
            for part, of_model in zip(wanted, prepared, strict=True)
        ]
    write_page(out, explored)
    done = f"{counted(count, 'image')} x {counted(len(explored), 'model')}"
    say(f"{done}, {out.stat().st_size / 1e6:.1f} MB -> {out}")
