"""Compiled programs are kept on disk between processes, so that the second run starts at once."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

import jax

CONFIGURED = "jax_compilation_cache_dir"


@cache
def enable() -> None:
    """Point JAX's persistent compilation cache at $XDG_CACHE_HOME/vitjax/xla/CPU (default ~/.cache).

    Every CPU type has a directory of its own. JAX's cache keys contain the platform but not the CPU's instruction set,
    so a home directory that two types of machine share would hand the code of one to the other: results then differ in
    the last bit from freshly compiled ones, or the process dies of an illegal instruction. A directory that the user
    has configured is respected; VITJAX_COMPILATION_CACHE=0 switches the cache off, and a cache that cannot be written
    is no error.
    """
    if os.environ.get("VITJAX_COMPILATION_CACHE") == "0" or getattr(jax.config, CONFIGURED) is not None:
        return
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        directory = root / "vitjax" / "xla" / cpu_type()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: neither HOME nor an entry of the user in the password database
        return
    jax.config.update(CONFIGURED, str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cpu_type(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Architecture, and a hash of model and instruction set of this machine's CPU, as a directory name.

    cpuinfo: the file that describes the CPU on Linux; other systems use what Python's `platform` knows.
    """
    wanted = ("cpu family", "model", "model name", "stepping", "flags", "Features", "CPU implementer", "CPU part")
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        described = [line for line in first.splitlines() if line.split(":")[0].strip() in wanted]
    except OSError:
        described = []
    text = "\n".join(described) or platform.processor() or platform.platform()
    return f"{platform.machine() or 'cpu'}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
