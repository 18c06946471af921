"""The subcommands evaluate, report, status and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vitjax.cli.arguments import (
    Columns,
    Count,
    Dtype,
    ExifOption,
    Methods,
    Metrics,
    OptionalCount,
    OptionalDirectory,
    Out,
    ProgressBar,
    RunDirectory,
    Seed,
    flat,
    method_requests,
    option,
    parse_target,
)
from vitjax.cli.model_arguments import DEFAULT, ModelArguments, ModelOption
from vitjax.execution.stopping import keep_handlers, resumes
from vitjax.methods.options import parse
from vitjax.output.terminal import say
from vitjax.output.wording import counted

if TYPE_CHECKING:
    from vitjax.evaluating.run import Run


def evaluate(
    out: Out,
    data: Annotated[str, option(metavar="DATA", help_behavior_hint="(required)")],
    model: ModelOption = DEFAULT,
    methods: Methods = (),
    metrics: Metrics = (),
    target: Annotated[str | None, option(metavar="TARGET")] = None,
    masks: OptionalDirectory = None,
    mask_ignore: OptionalCount = None,
    exif: ExifOption = "ignore",
    limit: OptionalCount = None,
    only_correct: bool = False,
    min_confidence: Annotated[float, option(metavar="P")] = 0.0,
    dtype: Dtype = "float32",
    precision: Annotated[str, option(metavar="highest|default")] = "highest",
    seed: Seed = 0,
    batch_size: Count = 16,
    chunk_size: Count = 128,
    workers: OptionalCount = None,
    cache: OptionalDirectory = None,
    save_maps: Annotated[str | None, option(metavar="float16|float32")] = None,
    process: Annotated[str | None, option(metavar="I/N")] = None,
    distributed: bool = False,
    engine: Annotated[str, option(metavar="local|ray")] = "local",
    dry_run: bool = False,
    profile: bool = True,
    report: bool = True,
) -> None:
    """Score methods over a data set: resumable, on all devices, by any number of processes. Writes a report at the end.

    Rerunning the command resumes the run. It is an error if settings, weights or data have changed since.

    Exit codes: 0 all chunks of this process are finished; 1 an error, of one line; 2 invalid arguments; 3 chunks are
    left open, because the storage did not give images: rerun the command; 130, 143, 129 ended by Ctrl-C, SIGTERM,
    SIGHUP after the batch under way: rerun the command.

    Args:
        out: the run directory, shared by all processes of the run.
        data: folder:DIR, voc:DIR, imagenet-seg:FILE, tfds:NAME:SPLIT or scenes:N.
        methods: names, with options as in rollout:head_fusion=max; module:name for one of your own; "all" for every
            method that is not slow and that the model can have, "everything" for slow ones, too. "all" if not given.
        metrics: names, with options as in iou:threshold=0.5, see `vitjax metrics`; module:name for one of your own; the
            name of a family, such as "faithfulness", for every metric of it. "localisation" if not given.
        target: the class to explain, of every image: "label" (its true class), "top2" (the second most probable), a
            class number, a class name, "A - B" (the difference of two classes), or "text:WORDS" of CLIP or SigLIP; the
            predicted class if not given.
        masks: directory of masks <image name>.png that replace the masks of the data set.
        mask_ignore: value of ignored mask pixels, such as 255 in masks of VOC; -1 if none is ignored. If not given, the
            data set says it, and masks of uncertain meaning get a status.
        exif: "ignore" takes images as stored, as timm and published evaluations do; "apply" turns them, and masks of
            their shape with them, by their EXIF orientation, as `vitjax explain` does.
        limit: use only the first LIMIT images.
        only_correct: leave out images whose predicted class differs from their label.
        min_confidence: leave out images whose predicted class has a lower probability, 0 to below 1.
        dtype: of the model's numbers; float64 needs JAX_ENABLE_X64=1 in the environment.
        precision: of float32 matrix products: "highest", or "default" for the accelerator's fastest (TF32, bfloat16
            passes).
        seed: seed of methods and metrics that draw random numbers; an image's draws depend on (seed, image id) only.
        batch_size: images in one call on each device.
        chunk_size: images in one record file; a crash loses at most one chunk.
        workers: number of processes that decode images, 0 for threads; chosen by the number of cores if not given.
        cache: directory for decoded images; later runs read them from there instead of decoding.
        save_maps: also save the raw maps, in half or single precision.
        process: this is process I of N, counted from 0, which computes every N-th chunk; detected under Slurm and
            jax.distributed if not given.
        distributed: call jax.distributed.initialize() first (TPU pods, GKE).
        engine: local, or ray for a cluster whose nodes come and go.
        dry_run: estimate the duration from one batch and write nothing.
        profile: first run every quick method alone on one batch to measure its speed and memory for the report.
        report: write the report when every chunk is done.
    """
    from dataclasses import replace

    import jax

    from vitjax.evaluating.job import Job
    from vitjax.evaluating.opening import execution_options, source_of
    from vitjax.evaluating.run import evaluate as run_evaluation
    from vitjax.evaluating.topology import topology
    from vitjax.explaining.requests import expanded
    from vitjax.rundir.manifest import write_manifest

    resumes(None if dry_run else out)
    execution_options(batch_size, workers, cache)
    requested = method_requests(methods, ["all"])
    if distributed:
        jax.distributed.initialize()
        keep_handlers()
    loaded = replace(model.load(dtype, quiet=True), precision=precision)
    settings: dict[str, Any] = {
        "methods": expanded(loaded, requested, parse_target(target)),
        "metrics": metric_requests(flat(metrics) or ["localisation"]),
        "target": parse_target(target),
        "limit": limit,
        "only_correct": only_correct,
        "min_confidence": min_confidence,
        "seed": seed,
        "chunk_size": chunk_size,
        "save_maps": save_maps,
    }
    reading: dict[str, Any] = {"exif": exif, "mask_ignore": mask_ignore}
    if dry_run:
        from vitjax.evaluating.profile import estimate

        cost = estimate(
            Job.of(loaded, source_of(loaded, data, masks=masks, **reading), **settings), batch_size=batch_size
        )
        _say_estimate(cost)
        return
    run = run_evaluation(
        loaded,
        data,
        out=out,
        masks=masks,
        **reading,
        batch_size=batch_size,
        process=process,
        workers=workers,
        cache=cache,
        engine=engine,  # type: ignore[arg-type]
        profile=profile,
        progress=partial(_announced, model, data),
        **settings,
    )
    execution = {"batch_size": batch_size, "process": process, "engine": engine, "workers": workers}
    write_manifest(out, "evaluate", loaded, {"data": data, **reading, **settings, **execution})
    say(run.status())
    if run.finished and report:
        _print_report(run.report())
    say(out)
    _fail_if_chunks_are_open(run, (0, 1) if engine == "ray" else topology(process))


def report(
    run: RunDirectory,
    out: Annotated[Path | None, option(name="out", aliases=["-o"], metavar="DIR")] = None,
    baseline: Annotated[str | None, option(metavar="METHOD")] = None,
    ci: Annotated[float, option(metavar="P")] = 0.95,
    partial: bool = False,
    pictures: bool = True,
    columns: Columns = (),
    digits: OptionalCount = None,
    no_ci: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Write the report of a run: tables (CSV, Markdown, LaTeX), curves and report.html. Prints the files' paths.

    Args:
        run: the run directory.
        out: directory to write; RUN/report if not given.
        baseline: method that the others are compared with, image by image; if not given, "random" or "centre" if the
            run contains it.
        ci: confidence level of the bootstrap intervals, 0 to 1.
        partial: report a run that is not finished; the report is marked as partial.
        pictures: recompute overlays of the images with the best and the worst scores, from the model and the data.
        columns: statistics that tables and curves show, in this order: metrics (iou), statistics ("focus faf", as in
            the column "figure" of summary.csv) or families (localisation); all of them if not given.
        digits: decimals of the numbers in tables, 0 to 9; chosen by the widths of the intervals if not given.
        no_ci: show no intervals in the tables; summary.csv has them.
    """
    from vitjax.evaluating.run import Run

    style: dict[str, Any] = {"columns": flat(columns), "digits": digits, "intervals": not no_ci}
    _print_report(Run(run).report(out, baseline=baseline, ci=ci, partial=partial, with_pictures=pictures, **style))


def status(run: RunDirectory) -> None:
    """Print the progress of a run: chunks done and left, images skipped and why.

    Args:
        run: the run directory.
    """
    from vitjax.evaluating.run import Run

    say(Run(run).status())


def metrics(name: Annotated[str, tyro.conf.Positional, option(metavar="[NAME]")] = "") -> None:
    """List every metric with its cost, options and citation; or describe one: formula, options, when to use it.

    Args:
        name: the metric to describe, as in `vitjax metrics iou`; module:name for one of your own.
    """
    from vitjax.cli.describe import metric_lines

    for line in metric_lines(name):
        say(line)


def metric_requests(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Parse metric arguments and expand the names of families.

    Raises:
        ConfigError: an option is not of the form name=value.
    """
    from vitjax.metrics import METRICS

    families: dict[str, list[dict[str, Any]]] = {}
    for name, metric in METRICS.items():
        families.setdefault(metric.family, []).append({"metric": name})
    return [request for text in texts for request in families.get(text) or [parse(text, "metric")]]


def _announced(model: ModelArguments, data: str, total: int, unit: str) -> ProgressBar:
    """The progress bar, which begins when everything has been checked."""
    if not data.startswith("scenes:"):
        model.announce()
    return ProgressBar(total, unit)


def _say_estimate(cost: dict[str, Any]) -> None:
    say(
        f"{counted(cost['images'], 'image')} x {counted(cost['methods'], 'method')} x "
        f"{counted(cost['metrics'], 'metric')} on {cost['devices']} "
        f"x {cost['device']}: about {_duration(cost['seconds'])} at {cost['images_per_second']} images/s, after "
        f"{_duration(cost['compile_seconds'])} of compilation; {cost['tflop']} TFLOP"
    )


def _fail_if_chunks_are_open(run: Run, process: tuple[int, int]) -> None:
    """Exit with code 3 if chunks of this process are not finished."""
    number, count = process
    left = set(range(number, run.chunks, count)) - set(run.store.finished())
    if left:
        say(
            f"vitjax: {len(left)} chunks are left open; the same command evaluates them and nothing else",
            error=True,
        )
        raise SystemExit(3)


def _print_report(paths: list[Path]) -> None:
    """Print the report's text table and the paths of its files."""
    table = next(path for path in paths if path.name == "table.txt")
    say(table.read_text(encoding="utf-8"))
    for path in paths:
        say(path)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
