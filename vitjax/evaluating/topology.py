"""Which of several processes this one is. They share a run directory and nothing else: none waits for another."""

from __future__ import annotations

import os
import re

import jax

from vitjax.errors import ConfigError


def topology(process: str | tuple[int, int] | None = None) -> tuple[int, int]:
    """(number, count) of this process: "i/n" where given, else as jax.distributed or Slurm say, else (0, 1).

    Under jax.distributed (TPU pods, GKE: call `jax.distributed.initialize()` or `vitjax evaluate --distributed`
    first) every host takes its own chunks on its own devices. Under Slurm nothing needs to be initialised.

    Raises ConfigError for a text that is not i/n, or a number out of range.
    """
    if process is not None:
        if isinstance(process, str):
            match = re.fullmatch(r"(\d+)/(\d+)", process.strip())
            if not match:
                raise ConfigError(f"process {process!r}: give it as i/n, such as 0/2 and 1/2 for two processes")
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
