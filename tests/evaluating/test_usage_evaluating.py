"""`vitjax.evaluate` in use: a run is a directory that any number of processes fill and anyone may open."""

import numpy as np
import pytest

from tests.evaluating.world import Pictures, assert_same_records, run
from vitjax.errors import RunError
from vitjax.evaluating.run import Run

pytestmark = pytest.mark.unoptimised

OPTIONS = {"methods": ["rollout", "random"], "metrics": ["energy_pointing_game"]}
SOURCE = Pictures(6, damaged=(4,))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "alone", SOURCE, **OPTIONS)


def test_a_finished_run_is_opened_from_its_directory_and_summarised(alone):
    opened = Run(alone.directory)
    assert opened.finished and opened.config["count"] == 6
    assert str(opened.status()).startswith("2 of 2 chunks done, 0 left\n6 images: 5 evaluated, 1 skipped, 0 left")
    table = opened.table(ci=0.9)
    for number, method in enumerate(("rollout", "random")):
        values = np.asarray(opened.records()["energy_pointing_game.value"])[number::2]
        row = table.rows[method, "energy_pointing_game"]
        assert row.estimate.value == pytest.approx(np.nanmean(values)) and row.estimate.n == 5
        assert row.excluded == {"unreadable": 1}
    assert f"{100 * table.rows['rollout', 'energy_pointing_game'].estimate.value:.1f}" in str(table)


def test_two_processes_fill_one_directory(alone, tmp_path):
    half = run(tmp_path / "shared", SOURCE, process="0/2", **OPTIONS)
    assert not half.finished and half.records().num_rows == 8
    with pytest.raises(RunError, match="partial"):
        half.table()
    assert half.table(partial=True).rows["random", "energy_pointing_game"].estimate.n == 4
    both = run(tmp_path / "shared", SOURCE, process="1/2", **OPTIONS)
    assert both.finished
    assert_same_records(both.records(), alone.records(), rtol=1e-5)
