"""evaluate: methods x metrics over a data set, into a run directory that any number of processes can share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax

from vitjax.data.open import open_data
from vitjax.data.source import Source
from vitjax.errors import ConfigError, RunError, VitjaxError
from vitjax.evaluating.engine import Progress, run_chunks
from vitjax.evaluating.job import Job, weights_digest
from vitjax.evaluating.pictures import Pictures
from vitjax.evaluating.topology import topology
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.rundir.status import Status, status
from vitjax.rundir.store import RunStore
from vitjax.shapes import ceil_div

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.report.tables import Table

Engine = Literal["local", "ray"]
ENGINES = ("local", "ray")


class Run:
    """A run directory, finished or not. `Run(directory)` opens one."""

    def __init__(self, directory: str | Path, model: Model | None = None, source: Source | None = None) -> None:
        self.directory = Path(directory)
        self.store = RunStore.open(self.directory)
        self._model, self._source = model, source

    @property
    def config(self) -> dict[str, Any]:
        """What the rows depend on: run.json."""
        return self.store.config

    @property
    def chunks(self) -> int:
        """How many chunks there are in all."""
        return ceil_div(self.config["count"], self.config["chunk_size"])

    @property
    def finished(self) -> bool:
        """Whether every chunk has its records."""
        return len(self.store.finished()) == self.chunks

    def status(self) -> Status:
        """How far it is, with reasons: prints as `vitjax status` does."""
        return status(self.store)

    def records(self) -> pa.Table:
        """One row for each image and method, ordered by both; see `vitjax.rundir.schema`."""
        return self.store.records()

    def table(self, ci: float = 0.95, *, baseline: str | None = None, partial: bool = False) -> Table:
        """Every figure of every method with its interval: prints as a table.

        Raises RunError where images are missing, unless `partial`.
        """
        from vitjax.report.summary import summarise
        from vitjax.report.tables import Table

        return Table(**vars(summarise(self.config, self.records(), ci=ci, baseline=baseline, partial=partial)))

    def report(self, out: Path | None = None, *, with_pictures: bool = True, **options: Any) -> list[Path]:
        """Write tables, curves and report.html to `out`, or to report/ in the run directory.

        Overlays of the best and the worst images are computed again from model and data, where these are still there
        and `with_pictures`. Other options as of `vitjax.report.write.write_report`: baseline, ci, partial.
        """
        from vitjax.report.write import write_report

        pictures = self._pictures() if with_pictures else None
        return write_report(self.directory, out, pictures=pictures, profile=self.profile(), **options)

    def profile(self) -> dict[str, Any]:
        """Speed and memory of each method: alone on one batch, slow ones as they were while the run computed."""
        path = self.directory / "profile.json"
        found = json.loads(path.read_text()) if path.exists() else {"methods": {}}
        spent: dict[str, list[float]] = {}
        for event in self.store.logged():
            for label, (seconds, images) in event.get("slow_methods", {}).items():
                total = spent.setdefault(label, [0.0, 0])
                total[0], total[1] = total[0] + seconds, total[1] + images
        slow = {label: {"images_per_second": images / seconds} for label, (seconds, images) in spent.items() if images}
        return {**found, "methods": {**found["methods"], **slow}}

    def _pictures(self) -> Pictures | None:
        try:
            model, source = self._opened()
            if weights_digest(model.params) != self.config["model"]["sha256"]:
                raise RunError("the weights are not those of the run")
            if source.digest() != self.config["data"]["digest"]:
                raise RunError("the data are not those of the run")
        except VitjaxError as error:
            print(f"no pictures in the report: {error}", file=sys.stderr)
            return None
        rows = self.store.records().select(["image_id", "target"]).to_pydict()
        return Pictures(model, source, self.config, dict(zip(rows["image_id"], rows["target"], strict=True)))

    def _opened(self) -> tuple[Model, Source]:
        if self._model is not None and self._source is not None:
            return self._model, self._source
        how = self.store.opened
        if not how:
            raise RunError("the run was made from objects in memory")
        model = load(how["model"], how["weights"], dtype=how["dtype"])
        return model, source_of(model, how["data"], masks=how["masks"])


def evaluate(
    model: Model,
    data: str | Path | Source,
    methods: Sequence[str | dict[str, Any]],
    metrics: Sequence[str | dict[str, Any]],
    out: str | Path,
    *,
    target: Any = None,
    masks: str | Path | None = None,
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
    opened: dict[str, Any] | None = None,
) -> Run:
    """Score explanation methods over a data set. The same call again goes on where it stopped.

    Args:
        data: "folder:DIR", "voc:DIR", "imagenet-seg:FILE", "tfds:NAME:SPLIT", "scenes:N", or a `Source` of your own.
        methods, metrics: names, or {"method": name, **options} and {"metric": name, **options}.
        out: the run directory; shared by all processes of the run.
        target: None (predicted class), "label", "top2", a class number or a class name.
        masks: directory of masks <image name>.png that stand in for the data set's own.
        limit: only the first so many images.
        only_correct, min_confidence: leave out images that the model gets wrong, or is less sure of.
        seed: of methods and metrics that draw random numbers, by image id.
        chunk_size: images in one record file, the most that a crash costs.
        save_maps: "float16" or "float32": raw maps are kept, too.
        batch_size: images in one call on each device.
        process: "i/n": this is process i of n, which take every n-th chunk each; jax.distributed's and Slurm's own
            numbers where not given.
        devices: this process's devices; all that it sees otherwise.
        workers: processes that decode; 0 for threads of this one.
        cache: directory for decoded images: the second run decodes nothing.
        profile: first run every quick method alone on one batch: images per second and memory for the report.
        engine: "local", or "ray" for a cluster whose nodes come and go.
        opened: how a later `vitjax report` opens model and data again: model, weights, dtype, data, masks.

    Returns a `Run`: `.table(ci=0.95)`, `.records()`, `.report()`.
    Raises before any computation: UnknownNameError, ConfigError, LabelError, ImageError (data that is not there),
    OutputError, RunError with every field in which a run begun earlier differs. Later: RunError for a full disk or too
    little device memory; what was finished is kept.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine={engine!r} is not one of {', '.join(ENGINES)}")
    source = source_of(model, data, masks=masks)
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
    number = topology(process)
    store = RunStore.create(Path(out), job.config, opened)
    options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "progress": progress}
    options["cache"] = None if cache is None else Path(cache)
    if engine == "ray":
        from vitjax.evaluating.ray_engine import run_on_ray

        run_on_ray(job, store, **options)
    else:
        run_chunks(job, store, process=number, devices=devices, profiled=profile, **options)
    return Run(out, model, source)


def source_of(model: Model, data: str | Path | Source, *, masks: str | Path | None = None) -> Source:
    """The data set of a specification, checked against the model's classes."""
    if not isinstance(data, (str, Path)):
        return data
    spec = str(data)
    classes = model.config.num_classes or None
    return open_data(spec, model.labels, num_classes=classes, masks=None if masks is None else Path(masks))
