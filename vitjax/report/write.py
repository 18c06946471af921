"""A run directory -> its report (tables, curves, page); each file is written atomically."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitjax.errors import OutputError
from vitjax.output.files import write_text
from vitjax.report.curves import panels
from vitjax.report.extremes import extremes
from vitjax.report.facts import run_facts
from vitjax.report.page import page
from vitjax.report.pictures import MakePictures
from vitjax.report.records import Records
from vitjax.report.statistics import RESAMPLES
from vitjax.report.style import TableStyle, check_style, selection
from vitjax.report.summary import Summary, method_labels, summarise
from vitjax.report.tables import csv_text, latex, markdown, text
from vitjax.rundir.sealed import read_profile
from vitjax.storage import check_local

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.metrics.contract import Metric

TABLES: dict[str, Callable[[Summary, TableStyle], str]] = {
    "summary.csv": lambda summary, style: csv_text(summary),
    "table.md": markdown,
    "table.tex": latex,
    "table.txt": lambda summary, style: text(summary, style) + "\n",
}


def write_report(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    baseline: str | None = None,
    ci: float = 0.95,
    partial: bool = False,
    columns: Sequence[str] = (),
    digits: int | None = None,
    intervals: bool = True,
    pictures: MakePictures | None = None,
    records: pa.Table | None = None,
    config: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    resamples: int = RESAMPLES,
) -> list[Path]:
    """Write summary.csv, table.md, table.tex, table.txt, curves.png and curves.pdf (if there are curves), report.html.

    Args:
        run_dir: the run directory; settings, records, log and profile are read from it unless given.
        out: output directory, created if needed; by default report/ in the run directory.
        baseline: label of the method that differences refer to; by default "random", else "centre", else none.
        ci: confidence level of the bootstrap intervals, in (0, 1).
        partial: accept an unfinished run, and mark every file.
        columns: statistics that the tables show, in this order: names as in the column "figure" of summary.csv, labels
            of metrics, or families; by default all, without those that equal another one. summary.csv has all of them.
        digits: decimals of the tables, 0 to 9; by default chosen for each column by the widths of its intervals.
        intervals: whether the tables show intervals.
        pictures: (image ids, method label) -> pictures by image id, for the best and worst images.
        records, config, profile: used instead of the files of the run.
        metrics: metrics by name; by default `vitjax.metrics.METRICS`.
        resamples: of the bootstrap.

    Returns:
        The paths written, the page last.

    Raises:
        RunError: run_dir is not a run directory, or records are missing or do not match the settings.
        UnknownNameError: baseline is not a method of the run, a column is not one of it, or a metric is not registered.
        ConfigError: ci or digits is out of range, or a metric's option is invalid.
        OutputError: a file cannot be written; no file is left incomplete.
    """
    run_dir, style = Path(run_dir), TableStyle(tuple(columns), digits, intervals)
    check_style(style)
    config, table, log = _opened(run_dir, config, records)
    profile = read_profile(run_dir, config) if profile is None else profile
    indexed = Records(table, method_labels(config))
    summary = summarise(
        config, indexed, profile, metrics=metrics, baseline=baseline, ci=ci, resamples=resamples, partial=partial
    )
    figures = selection(summary, style.columns).figures
    target = run_dir / "report" if out is None else Path(out)
    check_local(target, "report directory")
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = [write_text(target / name, make(summary, style)) for name, make in TABLES.items()]
        names = [shown.name for shown in figures]
        drawn = _draw(panels(config, indexed, summary, metrics, names), summary, target)
        html = page(
            summary,
            config,
            facts=run_facts(config, summary, table, log),
            extremes=extremes(summary, indexed, figures),
            curves=drawn[0].read_bytes() if drawn else None,
            pictures=pictures,
            style=style,
        )
        return [*written, *drawn, write_text(target / "report.html", html)]
    except OSError as error:
        raise OutputError(f"{error.filename or target}: cannot be written: {error.strerror or error}") from error


def _opened(
    run_dir: Path, config: Mapping[str, Any] | None, records: pa.Table | None
) -> tuple[Mapping[str, Any], pa.Table, list[dict[str, Any]]]:
    """Settings, records and log. The run directory is read unless both settings and records are given."""
    if config is not None and records is not None:
        return config, records, []
    from vitjax.rundir.store import RunStore

    store = RunStore.open(run_dir)
    table = store.records() if records is None else records
    return store.config if config is None else config, table, store.logged()


def _draw(curve_panels: Sequence[Any], summary: Summary, target: Path) -> list[Path]:
    """Write curves.png and curves.pdf. Without panels, remove the files of an earlier report: they may be outdated."""
    if not curve_panels:
        for name in ("curves.png", "curves.pdf"):
            (target / name).unlink(missing_ok=True)
        return []
    from vitjax.plots import save
    from vitjax.plots.curves import curves

    note = f"Means over images; bands: {100 * summary.ci:g} % bootstrap intervals of the means."
    figure = curves(curve_panels, note=f"{summary.mark}. {note}" if summary.mark else note)
    return save(figure, target / "curves", pdf=True)
