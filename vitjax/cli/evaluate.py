"""The commands around an evaluation: evaluate, report, status, metrics."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitjax.cli.arguments import Methods, Metrics, Out, Progress, RunDirectory, class_of, method_requests, parse


def evaluate(
    out: Out,
    data: str,
    model: str = "vitjax_scenes",
    weights: str | None = None,
    methods: Methods = ("all",),
    metrics: Metrics = ("localisation",),
    target: str | None = None,
    masks: Path | None = None,
    limit: int | None = None,
    only_correct: bool = False,
    min_confidence: float = 0.0,
    dtype: str = "float32",
    precision: str = "highest",
    seed: int = 0,
    batch_size: int = 16,
    chunk_size: int = 128,
    workers: int | None = None,
    cache: Path | None = None,
    save_maps: Annotated[str | None, tyro.conf.arg(metavar="float16|float32")] = None,
    process: Annotated[str | None, tyro.conf.arg(metavar="i/n")] = None,
    distributed: bool = False,
    engine: Annotated[str, tyro.conf.arg(metavar="local|ray")] = "local",
    dry_run: bool = False,
    profile: bool = True,
    report: bool = True,
) -> None:
    """Score methods over a data set: resumable, on all devices, by any number of processes. Ends with a report.

    The same command again goes on where it stopped; it refuses to where settings, weights or data have changed.

    Args:
        out: the run directory, shared by all processes of the run.
        data: folder:DIR, voc:DIR, imagenet-seg:FILE, tfds:NAME:SPLIT or scenes:N.
        model: name of a model, see `vitjax models`.
        weights: checkpoint file, checkpoint directory or hub id; the model's default otherwise.
        methods: names, with options as in rollout:head_fusion=max; "all" is every method that is not slow,
            "everything" the slow ones, too.
        metrics: names, with options as in iou:threshold=0.5, see `vitjax metrics`; "localisation", "faithfulness" and
            so on stand for a whole family.
        target: the class explained: the predicted one, "label", "top2", a class number or name.
        masks: directory of masks <image name>.png in place of the data set's own.
        limit: only the first so many images.
        only_correct: leave out images that the model gets wrong.
        min_confidence: leave out images whose prediction is less probable.
        dtype: float32, bfloat16, or float64 (with JAX_ENABLE_X64=1).
        precision: of float32 matrix products: highest, or "default" for the units' fast one (TF32, bf16 passes).
        seed: of what draws random numbers, by image id.
        batch_size: images in one call on each device.
        chunk_size: images in one record file, the most that a crash costs.
        workers: processes that decode; 0 for threads.
        cache: directory for decoded images: the second run decodes nothing.
        save_maps: keep the raw maps in half or single precision.
        process: which of how many processes this one is; found by itself under Slurm and jax.distributed.
        distributed: call jax.distributed.initialize() first (TPU pods, GKE).
        engine: local, or ray for a cluster whose nodes come and go.
        dry_run: say how long it will take, from one batch; write nothing.
        profile: first run every quick method alone on one batch: its speed and memory for the report.
        report: write the report when the last chunk is done.
    """
    from dataclasses import replace

    import jax

    from vitjax.evaluating.job import Job
    from vitjax.evaluating.run import evaluate as run_evaluation
    from vitjax.evaluating.run import source_of
    from vitjax.models.load import load
    from vitjax.rundir.manifest import write_manifest

    if distributed:
        jax.distributed.initialize()
    loaded = replace(load(model, weights, dtype=dtype), precision=precision)
    wanted: dict[str, Any] = {
        "methods": method_requests(methods, model),
        "metrics": metric_requests(metrics),
        "target": class_of(target),
        "limit": limit,
        "only_correct": only_correct,
        "min_confidence": min_confidence,
        "seed": seed,
        "chunk_size": chunk_size,
        "save_maps": save_maps,
    }
    if dry_run:
        from vitjax.evaluating.profile import estimate

        found = estimate(Job.of(loaded, source_of(loaded, data, masks=masks), **wanted), batch_size=batch_size)
        print(
            f"{found['images']} images x {found['methods']} methods x {found['metrics']} metrics on {found['devices']} "
            f"x {found['device']}: about {_duration(found['seconds'])} at {found['images_per_second']} images/s, after "
            f"{_duration(found['compile_seconds'])} of compilation; {found['tflop']} TFLOP"
        )
        return
    run = run_evaluation(
        loaded,
        data,
        out=out,
        masks=masks,
        batch_size=batch_size,
        process=process,
        workers=workers,
        cache=cache,
        engine=engine,  # type: ignore[arg-type]
        profile=profile,
        progress=Progress,
        opened={"model": model, "weights": weights, "dtype": dtype, "data": data, "masks": masks and str(masks)},
        **wanted,
    )
    opened = {"batch_size": batch_size, "process": process, "engine": engine, "workers": workers}
    write_manifest(out, "evaluate", loaded, {"data": data, **wanted, **opened})
    print(run.status())
    if run.finished and report:
        _print(run.report(), run)
    print(out)


def report(
    run: RunDirectory,
    out: Annotated[Path | None, tyro.conf.arg(name="out", aliases=["-o"], metavar="DIR")] = None,
    baseline: str | None = None,
    ci: float = 0.95,
    partial: bool = False,
    pictures: bool = True,
) -> None:
    """Tables (CSV, Markdown, LaTeX), curves and report.html of a run.

    Args:
        run: the run directory.
        out: where to write; RUN/report otherwise.
        baseline: method that the others are compared with, pair by pair; "random" or "centre" where the run has it.
        ci: share of the bootstrap intervals.
        partial: of a run that is not finished, and marked so.
        pictures: compute overlays of the best and the worst images again, from the model and the data.
    """
    from vitjax.evaluating.run import Run

    opened = Run(run)
    _print(opened.report(out=out, baseline=baseline, ci=ci, partial=partial, with_pictures=pictures), opened)


def status(run: RunDirectory) -> None:
    """How far a run is: chunks done and left, images skipped and why.

    Args:
        run: the run directory.
    """
    from vitjax.evaluating.run import Run

    print(Run(run).status())


def metrics() -> None:
    """Every metric: name, family, cost for each map, options, citation."""
    from vitjax.metrics import METRICS

    for name, metric in METRICS.items():
        options = ", ".join(f"{key}={value}" for key, value in metric.options.items())
        needs = f", needs {' and '.join(sorted(metric.needs))}" if metric.needs else ""
        print(f"{name}\n  {metric.title}: {metric.family}, cost {metric.cost}{needs}")
        print(f"  options: {options or 'none'}\n  {metric.cite}")
    print(f"\nfamilies, as in --metrics localisation: {', '.join(dict.fromkeys(m.family for m in METRICS.values()))}")


def metric_requests(texts: Metrics) -> list[dict[str, Any]]:
    """Parsed, with the names of families spelled out."""
    from vitjax.metrics import METRICS

    families: dict[str, list[dict[str, Any]]] = {}
    for name, metric in METRICS.items():
        families.setdefault(metric.family, []).append({"metric": name})
    return [each for text in texts for each in families.get(text) or [parse(text, "metric")]]


def _print(paths: list[Path], run: Any) -> None:
    for path in paths:
        print(path, file=sys.stderr)
    text = next((path for path in paths if path.name == "table.txt"), None)
    if text is not None:
        print(text.read_text())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
