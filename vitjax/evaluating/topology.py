"""The number of this process among the processes of a run, which share only the run directory."""

from __future__ import annotations

import os
import re
from typing import Any

import jax

from vitjax.errors import ConfigError
from vitjax.execution.arguments import check_whole_number
from vitjax.output.wording import ordinal


def topology(process: str | tuple[int, int] | None = None) -> tuple[int, int]:
    """The number of this process and the number of all processes.

    Processes do not communicate or wait for one another. With jax.distributed (TPU pods, GKE), call
    `jax.distributed.initialize()` or use `vitjax evaluate --distributed`; every host then evaluates its own chunks on
    its own devices. Slurm needs no initialisation, but `srun`, which starts one process for each task.

    Args:
        process: "i/n" or (i, n); None takes the numbers of jax.distributed or Slurm, or (0, 1) without either.

    Returns:
        (i, n) with 0 <= i < n.

    Raises:
        ConfigError: the text does not have the form i/n, i is out of range, or Slurm's variables contradict one
            another, as in a job of several tasks that was not started by srun, where a part of the run would be left
            out.
    """
    if process is not None:
        return _checked(*_parsed(process), f"process {process!r}")
    if jax.process_count() > 1:
        return jax.process_index(), jax.process_count()
    return _of_slurm()


def _parsed(process: Any) -> tuple[int, int]:
    if isinstance(process, str):
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", process.strip())
        if not match:
            raise ConfigError(f"process {process!r} must have the form i/n, such as 0/2 and 1/2 for two processes")
        return int(match[1]), int(match[2])
    if not isinstance(process, tuple | list) or len(process) != 2:
        raise ConfigError(f"process {process!r} must be 'i/n' or (i, n)")
    return check_whole_number("process", process[0], 0), check_whole_number("number of processes", process[1], 1)


def _checked(number: int, count: int, what: str) -> tuple[int, int]:
    if count < 1:
        raise ConfigError(f"{what}: there must be at least one process")
    if not 0 <= number < count:
        raise ConfigError(f"{what}: the numbers of {count} processes are 0 to {count - 1}")
    return number, count


def _of_slurm() -> tuple[int, int]:
    """srun tells each process its number in the step and the number of the step's tasks; sbatch starts one process."""
    tasks, number = _variable("SLURM_NTASKS"), _variable("SLURM_PROCID")
    in_step, step_tasks = _variable("SLURM_STEP_ID") is not None, _variable("SLURM_STEP_NUM_TASKS")
    if number is None or ((tasks or 1) == 1 and (step_tasks or 1) == 1):
        return (0, 1) if not number else _checked(number, 1, "SLURM_PROCID of a job of one task")
    if not in_step and step_tasks is None:
        assert tasks is not None  # one task has returned above
        raise ConfigError(
            f"SLURM_NTASKS={tasks}, but srun did not start this process (SLURM_STEP_ID is not set), so that only every "
            f"{ordinal(tasks)} chunk would be evaluated: start it with `srun vitjax evaluate ...`, or pass "
            "--process 0/1 to evaluate all chunks in this process"
        )
    count = step_tasks if step_tasks is not None else tasks or 1
    name = "SLURM_STEP_NUM_TASKS" if step_tasks is not None else "SLURM_NTASKS"
    return _checked(number, count, f"SLURM_PROCID={number}, {name}={count}")


def _variable(name: str) -> int | None:
    """A number in the environment; None if it is not set.

    Raises:
        ConfigError: it is no number.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise ConfigError(f"{name}={text!r} in the environment is not a number; unset it, or pass --process i/n")
    return int(text)
