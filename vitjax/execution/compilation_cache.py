"""Compiled programs are kept on disk between processes, so that the second run starts at once."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import jax

CONFIGURED = "jax_compilation_cache_dir"


@cache
def enable() -> None:
    """Point JAX's persistent compilation cache at $XDG_CACHE_HOME/vitjax/xla (default ~/.cache).

    A directory that the user has configured is respected; VITJAX_COMPILATION_CACHE=0 switches the cache off, and
    a cache that cannot be written is no error.
    """
    if os.environ.get("VITJAX_COMPILATION_CACHE") == "0" or getattr(jax.config, CONFIGURED) is not None:
        return
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = root / "vitjax" / "xla"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: neither HOME nor an entry of the user in the password database
        return
    jax.config.update(CONFIGURED, str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
