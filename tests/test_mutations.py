"""Damaged inputs of every kind, made by a seed: one line, a status, or the right result, in 10 s and 1 GiB.

`python -m tests.mutations --kind KIND --count 10000` runs as many as wanted; see `tests/mutations`.
"""

import numpy as np
import pytest

from tests.mutations.__main__ import run, summary
from tests.mutations.engine import OPERATIONS, mutated, mutated_text
from tests.mutations.inputs import KINDS

COUNTS = {"pictures": 400, "masks": 300, "labels": 600, "checkpoints": 400, "options": 100, "runs": 100}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_input_ends_otherwise(kind):
    if kind == "checkpoints":
        pytest.importorskip("torch", reason="checkpoints of PyTorch are among the inputs")
    results = run(kind, COUNTS[kind])
    assert [result["number"] for result in results] == list(range(COUNTS[kind]))
    faults = [result for result in results if result["outcome"] == "fault"]
    assert not faults, f"{summary(results)}\n{faults[:5]}"
    outcomes = {result["outcome"] for result in results}
    assert outcomes & {"refused", "status"} and outcomes & {"right", "other"}, "the mutations reach both sides"


@pytest.mark.parametrize("name", OPERATIONS)
def test_mutations_change_bytes_and_depend_on_the_seed_alone(name):
    content, other = bytes(range(256)) * 20 + b"width 1024", b"other" * 300
    made = [[OPERATIONS[name](np.random.default_rng(seed), content, other) for seed in range(20)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 5 and sum(each != content for each in made[0]) > 10


def test_any_content_can_be_mutated():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        assert isinstance(mutated(rng, b"", b"")[0], bytes) and isinstance(mutated_text(rng, "")[0], str)


@pytest.mark.slow
def test_input_that_dies_hangs_or_takes_memory_is_a_fault_and_the_next_one_is_read():
    results = run("faulty", 5)
    assert [result["outcome"] for result in results] == ["right", "fault", "fault", "fault", "right"]
    assert "exit -11" in results[1]["cause"] and "MiB of memory" in results[2]["cause"]
    assert "Timeout" in results[3]["cause"]
