"""Run directories: damaged, missing, swapped and foreign files. Status, table, maps and a resumed run are compared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tests.evaluating.world import METHODS, Pictures, run
from tests.mutations.engine import mutated, mutated_text
from tests.mutations.inputs import Kind, Outcome
from vitjax.errors import VitjaxError
from vitjax.evaluating.run import Run
from vitjax.rundir.saved_maps import read_maps

SOURCE = Pictures(12, damaged=(5,))
OPERATIONS = ("bytes", "bytes", "text", "delete", "swap", "foreign", "duplicate", "rename", "folder", "empty folder")
RESUMED = 0.1
"""Share of the inputs that are resumed as well."""


class Runs(Kind):
    """A finished run of three chunks, with saved maps and a profile, and another run, whose files are mixed in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.whole = self._run(folder / "whole", SOURCE)
        self._run(folder / "foreign", Pictures(12, version=1))
        self.own, self.foreign = _contents(folder / "whole"), _contents(folder / "foreign")
        self.truth = self._figures(Run(folder / "whole"))

    def _run(self, out: Path, source: Pictures) -> Run:
        return run(out, source, save_maps="float16", profile=True)

    def case(self, rng: np.random.Generator) -> Any:
        changes = []
        for _ in range(rng.integers(1, 3)):
            path, other = (str(name) for name in rng.choice(list(self.own), 2))
            operation = str(rng.choice(OPERATIONS))
            content = b""
            if operation == "bytes":
                content = mutated(rng, self.own[path], self.own[other])[0]
            if operation == "text":
                path = str(rng.choice([name for name in self.own if ".json" in name]))
                content = mutated_text(rng, self.own[path].decode())[0].encode("utf-8", "surrogatepass")
            if operation == "foreign":
                same = [name for name in self.foreign if Path(name).parent == Path(path).parent]
                content = self.foreign[str(rng.choice(same))]
                path = str(rng.choice([path, *same]))
            changes.append((operation, path, other, content, int(rng.integers(0, 9))))
        return (*(str(change[:3]) for change in changes), rng.random() < RESUMED, changes)

    def read(self, case: Any) -> Outcome:
        *_, resumed, changes = case
        out = self.folder / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        for name, content in self.own.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        for change in changes:
            _apply(out, *change)
        refusal = None
        try:
            found = self._figures(Run(out))
            outcome = self._compare(found, Run(out).finished)
        except VitjaxError as error:
            outcome, refusal = ("refused", str(error)), error
        if resumed and outcome[0] != "fault":
            try:
                again = self._run(out, SOURCE)
                figures = self._figures(again)
            except VitjaxError as error:
                return "refused", str(error)
            if figures["records"] != self.truth["records"] or not again.finished:
                return "fault", f"resumed: other records than those of the whole run, after {refusal or outcome}"
        return outcome

    def _figures(self, run: Run) -> dict[str, Any]:
        """What a user reads of a run; what is refused is named by its error."""
        text = str(run.status())
        finished = run.store.finished()
        found: dict[str, Any] = {"status": text, "records": _rows(run) if finished else {}}
        found["chunks"] = len(finished)
        for name, make in (("table", run.table), ("profile", run.profile)):
            found[name] = _or_error(lambda make=make: str(make()))
        for method in METHODS:
            found[method] = _or_error(lambda method=method: read_maps(run.directory, method))
        return found

    def _compare(self, found: dict[str, Any], finished: bool) -> Outcome:
        truth = self.truth
        if any(truth["records"].get(key) != row for key, row in found["records"].items()):
            return "fault", "records that the run does not have"
        if finished != (found["records"].keys() == truth["records"].keys()):
            return "fault", "records are missing of a run that says that it is finished"
        if not finished and f"{found['chunks']} of 3 chunks done" not in found["status"]:
            return "fault", f"the status does not say what is missing: {found['status'][:100]}"
        for name in ("table", "profile"):
            absent = name == "profile" and found[name] == "{'methods': {}}"
            if found[name] != truth[name] and not absent and not isinstance(found[name], VitjaxError):
                return "fault", f"another {name}: {found[name][:200]}"
        for method in METHODS:
            maps = found[method]
            if isinstance(maps, VitjaxError):
                continue
            if len(maps) < 4 * found["chunks"]:
                return "fault", f"maps are missing of {found['chunks']} chunks: {len(maps)}"
            if not all(np.array_equal(each, truth[method].get(name), equal_nan=True) for name, each in maps.items()):
                return "fault", f"other maps of {method}"
        errors = [str(value) for value in found.values() if isinstance(value, VitjaxError)]
        if errors:
            return "refused", errors[0]
        return ("right", "run") if finished else ("status", f"{found['chunks']} of 3 chunks done")


def _apply(out: Path, operation: str, name: str, other: str, content: bytes, number: int) -> None:
    path, second = out / name, out / other
    if operation in ("bytes", "text", "foreign"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.is_dir() and not path.is_dir():
            path.write_bytes(content)
    elif not path.is_file():
        return
    elif operation == "delete":
        path.unlink()
    elif operation == "swap" and second.is_file():
        one, two = path.read_bytes(), second.read_bytes()
        path.write_bytes(two)
        second.write_bytes(one)
    elif operation in ("duplicate", "rename"):
        renumbered = path.name.replace("chunk-0000", f"chunk-000{number}", 1)
        target = path.with_name(renumbered if number % 3 and renumbered != path.name else f"{path.name[:-4]}x")
        if not target.exists():
            shutil.copy(path, target)
            if operation == "rename":
                path.unlink()
    elif operation == "folder":
        path.unlink()
        path.mkdir()
    elif operation == "empty folder" and path.parent != out:
        shutil.rmtree(path.parent)
        path.parent.mkdir()


def _contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _rows(run: Run) -> dict[tuple[int, str], str]:
    return {(row["index"], row["method"]): repr(row) for row in run.records().to_pylist()}


def _or_error(read: Any) -> Any:
    try:
        return read()
    except VitjaxError as error:
        return error
