"""The number of this process among the processes of a run, which share only the run directory."""

from __future__ import annotations

import os
import re

import jax

from vitjax.errors import ConfigError


def topology(process: str | tuple[int, int] | None = None) -> tuple[int, int]:
    """The number of this process and the number of all processes.

    Processes do not communicate or wait for one another. With jax.distributed (TPU pods, GKE), call
    `jax.distributed.initialize()` or use `vitjax evaluate --distributed`; every host then evaluates its own chunks on
    its own devices. Slurm needs no initialisation.

    Args:
        process: "i/n" or (i, n); None takes the numbers of jax.distributed or Slurm, or (0, 1) without either.

    Returns:
        (i, n) with 0 <= i < n.

    Raises:
        ConfigError: the text does not have the form i/n, or i is out of range.
    """
    if process is not None:
        if isinstance(process, str):
            match = re.fullmatch(r"(\d+)/(\d+)", process.strip())
            if not match:
                raise ConfigError(f"process {process!r} must have the form i/n, such as 0/2 and 1/2 for two processes")
            process = int(match[1]), int(match[2])
        number, count = process
        if not 0 <= number < count:
            raise ConfigError(f"process {number}/{count}: the numbers of {count} processes are 0 to {count - 1}")
        return number, count
    if jax.process_count() > 1:
        return jax.process_index(), jax.process_count()
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    return 0, 1
