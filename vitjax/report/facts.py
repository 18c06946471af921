"""Facts about a run for the report: settings, devices, durations and software versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitjax.data.listing import describe
from vitjax.report.summary import Summary
from vitjax.rundir.manifest import versions
from vitjax.rundir.picture_notes import count_masks, count_notes, lines

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_IN_TABLES = ("methods", "metrics")
"""Settings that the report shows in separate tables."""
PACKAGES = ("vitjax", "jax", "numpy")


def run_facts(
    config: Mapping[str, Any], summary: Summary, records: pa.Table, log: Iterable[Mapping[str, Any]] = ()
) -> list[tuple[str, str]]:
    """(name, value) pairs: all settings except methods and metrics, then facts from the records and from the log.

    Nested settings get dotted names; values that are None or empty are omitted.

    Args:
        config: settings of the run.
        summary: statistics of the run.
        records: table of the run.
        log: events of the run's log.
    """
    facts = list(flat({key: value for key, value in config.items() if key not in SHOWN_IN_TABLES}))
    kinds = records["target_kind"].unique().to_pylist() if "target_kind" in records.column_names else []
    facts.append(("images", "; ".join(lines(count_notes(records), int(config["count"]), count_masks(records)))))
    facts.append(("explained class", ", ".join(sorted(str(kind) for kind in kinds))))
    facts.append(("device of the profile", summary.device))
    facts += _log_facts(list(log))
    facts.append(("baseline of differences", summary.baseline or "none"))
    facts.append(("intervals", f"{100 * summary.ci:g} %, percentile bootstrap, {summary.resamples} resamples"))
    facts.append(("report made with", _named(versions())))
    return [(name, value) for name, value in facts if value]


def flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """(dotted name, text) of each leaf of nested mappings; a list becomes one comma-separated text."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from flat(member, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    elif value is not None:
        yield name, str(value)


def _log_facts(log: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Devices, number, total time and software versions of the processes that computed the run."""
    started = [event for event in log if event.get("event") == "started"]
    devices = dict.fromkeys(f"{e['devices']} x {e['device']}" for e in started if "device" in e and "devices" in e)
    yield "computed on", ", ".join(devices)
    yield "passed over in the data set", describe(next((e["passed_over"] for e in started if e.get("passed_over")), {}))
    yield "processes", str(len({event.get("slot") for event in started}) or "")
    finished = [event for event in log if event.get("event") == "finished" and event.get("images")]
    seconds = sum(event.get("seconds", 0) for event in finished)
    if seconds:
        yield "time, all processes together", f"{seconds:.0f} s for {sum(e['images'] for e in finished)} images"
    yield (
        "computed with",
        "; ".join(dict.fromkeys(_named(event["versions"]) for event in started if "versions" in event)),
    )


def _named(installed: Mapping[str, str | None]) -> str:
    """Names and versions of PACKAGES as one text."""
    return ", ".join(f"{name} {installed[name]}" for name in PACKAGES if installed.get(name))
