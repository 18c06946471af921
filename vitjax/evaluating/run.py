"""`evaluate`: methods and metrics over a data set, written to a run directory that several processes can share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax

from vitjax.data.source import Source
from vitjax.errors import ConfigError, RunError, VitjaxError
from vitjax.evaluating import describe
from vitjax.evaluating.engine import run_chunks
from vitjax.evaluating.identity import changed_files, check_files
from vitjax.evaluating.job import Job
from vitjax.evaluating.opening import execution_options, how_to_reopen, import_own, reopened, source_of
from vitjax.evaluating.pictures import Overlays
from vitjax.evaluating.programs import check_metrics
from vitjax.evaluating.topology import topology
from vitjax.execution.progress import Progress
from vitjax.explaining.requests import Methods
from vitjax.explaining.text_targets import with_target_classes
from vitjax.images.picture import Exif
from vitjax.models.function import tree_digest
from vitjax.models.model import Model
from vitjax.output.html import html_lines
from vitjax.output.terminal import say
from vitjax.rundir.sealed import read_profile
from vitjax.rundir.status import Status, status
from vitjax.rundir.store import RunStore
from vitjax.shapes import ceil_div

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.report.tables import Table

Engine = Literal["local", "ray"]
ENGINES = ("local", "ray")


class Run:
    """The results of an evaluation, finished or not.

    Args:
        directory: an existing run directory.
        model, source: model and data set of the run, for overlays in reports; None opens them again when needed.

    Raises:
        RunError: the directory contains no run, or its run.json is damaged.

    In this example and those of the methods, `run` is that of the example of `vitjax.evaluate`.

    Example:
        >>> run.directory.name, run.chunks, run.finished
        ('run', 1, True)
        >>> run
        Run '.../run': finished, 4 images, model vitjax_scenes
          methods: rollout, random; metrics: iou
    """

    def __init__(self, directory: str | Path, model: Model | None = None, source: Source | None = None) -> None:
        self.directory = Path(directory)
        self.store = RunStore.open(self.directory)
        self._model, self._source = model, source

    def __repr__(self) -> str:
        return describe.two_lines(self.directory, self.config, len(self.store.finished()), self.chunks)

    def _repr_html_(self) -> str:
        return html_lines(f"{self!r}\n\n{self.table()}" if self.finished else repr(self))

    @property
    def config(self) -> dict[str, Any]:
        """Everything that the records depend on, as stored in run.json."""
        return self.store.config

    @property
    def chunks(self) -> int:
        """Total number of chunks."""
        return ceil_div(self.config["count"], self.config["chunk_size"])

    @property
    def finished(self) -> bool:
        """Whether all chunks are finished."""
        return set(range(self.chunks)) <= self.store.finished().keys()

    def status(self) -> Status:
        """The progress of the run; prints like `vitjax status`.

        Example:
            >>> run.status().evaluated
            4
        """
        return status(self.store)

    def records(self) -> pa.Table:
        """The records of all finished chunks, ordered by image and method; see `vitjax.rundir.schema`.

        Raises:
            RunError: no chunk is finished yet.

        Example:
            >>> run.records().select(["image_id", "method"]).to_pylist()[0]
            {'image_id': 'scene000000', 'method': 'rollout'}
        """
        return self.store.records()

    def table(self, ci: float = 0.95, *, baseline: str | None = None, partial: bool = False) -> Table:
        """Means of all metrics for all methods, with bootstrap intervals; prints as a table.

        Args:
            ci: confidence level of the intervals.
            baseline: method that the others are compared with.
            partial: accept an unfinished run.

        Raises:
            RunError: records of images are missing and `partial` is False.

        Example:
            >>> sorted(run.table(baseline="random").rows)
            [('random', 'iou'), ('rollout', 'iou')]
        """
        from vitjax.report.summary import summarise
        from vitjax.report.tables import Table

        import_own(self.config)
        return Table(**vars(summarise(self.config, self.records(), ci=ci, baseline=baseline, partial=partial)))

    def report(self, out: Path | None = None, *, with_pictures: bool = True, **options: Any) -> list[Path]:
        """Write tables, curves and report.html.

        Args:
            out: directory of the report; None: report/ in the run directory.
            with_pictures: recompute overlays of the best and worst images, if model and data are still available.
            options: of `vitjax.report.write.write_report`: baseline, ci, partial, columns, digits, intervals.

        Returns:
            The paths of the files.

        Example:
            >>> [path.name for path in run.report(with_pictures=False)]
            ['summary.csv', 'table.md', 'table.tex', 'table.txt', 'report.html']
        """
        from vitjax.report.write import write_report

        import_own(self.config)
        pictures = self._overlays() if with_pictures else None
        return write_report(self.directory, out, pictures=pictures, profile=self.profile(), **options)

    def profile(self) -> dict[str, Any]:
        """Speed and memory of each method: quick methods alone on one batch, slow methods as timed during the run.

        Example:
            >>> run.profile()["methods"]  # none of it slow, and run with profile=False
            {}
        """
        measured = read_profile(self.directory, self.config)
        spent: dict[str, list[float]] = {}
        for event in self.store.logged():
            for label, (seconds, images) in (event.get("slow_methods") or {}).items():
                total = spent.setdefault(label, [0.0, 0])
                total[0], total[1] = total[0] + seconds, total[1] + images
        slow = {label: {"images_per_second": images / seconds} for label, (seconds, images) in spent.items() if images}
        return {**measured, "methods": {**measured.get("methods", {}), **slow}}

    def _overlays(self) -> Overlays | None:
        try:
            model, source = self._model_and_source()
            model, _ = with_target_classes(model, self.config["target"])
            if tree_digest(model.params) != self.config["model"]["sha256"]:
                raise RunError("the weights differ from those of the run")
            if source.digest() != self.config["data"]["digest"]:
                raise RunError("the data differ from those of the run")
            if changed := changed_files(self.store):
                raise RunError(f"{len(changed)} files of the data have changed since the run: {changed[0]}")
        except VitjaxError as error:
            say(f"the report contains no overlays: {error}", error=True)
            return None
        records = self.store.records().select(["image_id", "target"]).to_pydict()
        return Overlays(model, source, self.config, dict(zip(records["image_id"], records["target"], strict=True)))

    def _model_and_source(self) -> tuple[Model, Source]:
        if self._model is not None and self._source is not None:
            return self._model, self._source
        return reopened(self.store.opened)


def evaluate(
    model: Model,
    data: str | Path | Source,
    methods: Methods,
    metrics: Sequence[str | dict[str, Any]],
    out: str | Path,
    *,
    target: Any = None,
    masks: str | Path | None = None,
    mask_ignore: int | None = None,
    exif: Exif = "ignore",
    limit: int | None = None,
    only_correct: bool = False,
    min_confidence: float = 0.0,
    seed: int = 0,
    chunk_size: int = 128,
    save_maps: str | None = None,
    batch_size: int = 16,
    process: str | tuple[int, int] | None = None,
    devices: Sequence[jax.Device] | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    engine: Engine = "local",
    profile: bool = True,
    progress: Progress | None = None,
) -> Run:
    """Evaluate explanation methods by metrics over a data set. Repeating the call resumes an interrupted run.

    Args:
        model: the model.
        data: "folder:DIR", "voc:DIR", "imagenet-seg:FILE", "tfds:NAME:SPLIT", "scenes:N", or a `Source`.
        methods: names, also "module:name", or {"method": name, **options}; or a group, as in `explain_many`.
        metrics: names, also "module:name", or {"metric": name, **options}.
        out: the run directory, which all processes of the run share.
        target: the explained class: None (the predicted class), "label", "top2", a class number, a class name, or
            "A - B", the difference of two classes, which metrics of the explained class's probability refuse.
        masks: directory of masks <image name>.png that replace the data set's own.
        mask_ignore: value of ignored mask pixels, -1 if none is; None leaves it to the data set, see `Raw`.
        exif: "apply" turns images and their masks by the EXIF orientation; "ignore" takes them as stored, as timm.
        limit: use only the first `limit` images.
        only_correct: exclude images that the model classifies incorrectly.
        min_confidence: exclude images whose predicted class has a lower probability; in [0, 1).
        seed: seed of methods and metrics that draw random numbers; the numbers of an image depend on its id.
        chunk_size: images in one record file; a crash loses at most the chunk being computed.
        save_maps: "float16" or "float32" saves raw maps as well; None saves none.
        batch_size: images in one call on each device.
        process: "i/n": this is process i of n, each of which evaluates every n-th chunk; None takes the numbers of
            jax.distributed or Slurm.
        devices: devices of this process; None uses all that are visible to it.
        workers: processes that decode; 0 uses threads of this process, None chooses by the number of cores.
        cache: directory for decoded images, so that a second run decodes nothing; None disables the cache.
        profile: first run every quick method alone on one batch, for images per second and memory in the report.
        engine: "local", or "ray" for a cluster whose nodes may join and leave.
        progress: shows the number of finished images.

    Returns:
        A `Run` with `.table(ci=0.95)`, `.records()` and `.report()`.

    Raises:
        UnknownNameError, ConfigError: a method, a metric or an option is unknown, or an argument is invalid.
        LabelError: the target or a label is not a class of the model, or labels are missing.
        ImageError: the data do not exist, or a loader worker died.
        OutputError: `out` contains other files or cannot be written.
        RunError: an existing run in `out` has other settings (lists every field that differs), another process holds
            the lock, the disk is full, or device memory does not suffice for one image per device.

        Except for dead loader workers, full disks and insufficient device memory, errors are raised before any
        computation. Completed chunks are preserved.

    Example:
        >>> import tempfile, vitjax
        >>> model, out = vitjax.load("vitjax_scenes"), tempfile.mkdtemp() + "/run"
        >>> run = vitjax.evaluate(model, "scenes:4", ["rollout", "random"], ["iou"], out, profile=False)
        >>> run.finished, run.records().num_rows
        (True, 8)
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine!r} is not one of {', '.join(ENGINES)}")
    options = execution_options(batch_size, workers, cache)
    source = source_of(model, data, masks=masks, exif=exif, mask_ignore=mask_ignore)
    job = Job.of(
        model,
        source,
        methods,
        metrics,
        target=target,
        seed=seed,
        chunk_size=chunk_size,
        limit=limit,
        only_correct=only_correct,
        min_confidence=min_confidence,
        save_maps=save_maps,
    )
    check_metrics(model, job.metrics, job.requests)
    if engine == "ray" and (process is not None or devices is not None):
        raise ConfigError("engine='ray' divides the run itself: process and devices must be None")
    process_number = (0, 1) if engine == "ray" else topology(process)
    store = RunStore.create(Path(out), job.config, how_to_reopen(model, data, masks, exif, mask_ignore), changed_files)
    check_files(store, source, job.count)
    if engine == "ray":
        from vitjax.evaluating.ray_engine import run_on_ray

        run_on_ray(job, store, progress=progress, **options)
    else:
        run_chunks(job, store, process=process_number, devices=devices, profiled=profile, progress=progress, **options)
    return Run(out, model, source)
