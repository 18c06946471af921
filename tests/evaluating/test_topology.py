"""The number of a process: given, or from Slurm's variables, which must be those that srun sets."""

import pytest

from vitjax.errors import ConfigError
from vitjax.evaluating.topology import topology

NAMES = ("NTASKS", "PROCID", "STEP_ID", "STEP_NUM_TASKS")


@pytest.fixture(autouse=True)
def slurm(monkeypatch):
    """A function that sets SLURM_<name> for each keyword; no other of its variables is set."""
    for name in NAMES:
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    return lambda **values: [monkeypatch.setenv(f"SLURM_{name}", str(value)) for name, value in values.items()]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        ({"NTASKS": 1, "PROCID": 0}, (0, 1)),
        ({"NTASKS": 4}, (0, 1)),  # salloc: no process of the step, thus all chunks
        ({"NTASKS": 4, "PROCID": 3, "STEP_ID": 0, "STEP_NUM_TASKS": 4}, (3, 4)),
        ({"NTASKS": 4, "PROCID": 1, "STEP_ID": 0, "STEP_NUM_TASKS": 2}, (1, 2)),  # srun --ntasks=2 in a job of four
        ({"NTASKS": 4, "PROCID": 0, "STEP_ID": 0, "STEP_NUM_TASKS": 1}, (0, 1)),
        ({"NTASKS": "", "PROCID": ""}, (0, 1)),
    ],
)
def test_numbers_of_srun(variables, expected, slurm):
    slurm(**variables)
    assert topology() == expected
    assert topology("1/3") == (1, 3)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NTASKS": 2, "PROCID": 0}, r"srun did not start.*every 2nd chunk.*srun vitjax evaluate.*--process 0/1"),
        ({"NTASKS": 4, "PROCID": 9, "STEP_ID": 0, "STEP_NUM_TASKS": 4}, "SLURM_PROCID=9.*are 0 to 3"),
        ({"NTASKS": 4, "PROCID": 3, "STEP_ID": 0, "STEP_NUM_TASKS": 2}, "are 0 to 1"),
        ({"NTASKS": 1, "PROCID": 2}, "are 0 to 0"),
        ({"NTASKS": "abc", "PROCID": 0}, "SLURM_NTASKS='abc' in the environment is not a number"),
        ({"NTASKS": 2, "PROCID": "-1"}, "SLURM_PROCID='-1'"),
    ],
)
def test_variables_that_would_leave_out_a_part_of_the_run_are_refused(variables, message, slurm):
    slurm(**variables)
    with pytest.raises(ConfigError, match=message):
        topology()


@pytest.mark.parametrize("process", ["2/2", "0/0", "a/b", "1", "-1/2", (2, 2), (0, 0), (0.0, 2), (True, 2), 3])
def test_invalid_process_is_refused(process):
    with pytest.raises(ConfigError, match="process"):
        topology(process)
