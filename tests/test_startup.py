"""Startup time: `import vitjax` leaves out heavy packages, and compiled programs are cached on disk."""

import os
import subprocess
import sys

from vitjax.execution.compilation_cache import cpu_type

HEAVY = ("torch", "timm", "networkx", "matplotlib", "orbax", "optax", "huggingface_hub", "jinja2")


def output_of(code, **environment):
    """Standard output of Python code in a new process."""
    # Benchmarks tested in the same pytest process set this variable for themselves and their child processes.
    inherited = {name: value for name, value in os.environ.items() if name != "VITJAX_COMPILATION_CACHE"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**inherited, **environment}, check=True
    )
    return process.stdout.strip()


def test_import_does_not_load_heavy_packages():
    loaded = output_of("import vitjax, sys; print(*sorted(sys.modules))").split()
    assert not [name for name in HEAVY if name in loaded]


def test_help_does_not_load_what_is_optional():
    code = """
import sys

from vitjax.execution.compilation_cache import cpu_type
from vitjax.cli.main import main
try:
    main(["--help"])
except SystemExit:
    print(*sorted(sys.modules))
"""
    loaded = output_of(code).splitlines()[-1].split()
    assert "vitjax.cli.main" in loaded
    assert not [name for name in ("torch", "timm", "networkx", "vitjax.verifying") if name in loaded]


def test_machines_of_different_cpus_do_not_share_compiled_code(tmp_path):
    """A home directory is often shared by unlike machines of a cluster; JAX's key does not contain the CPU."""
    names = set()
    for number, (model, flags) in enumerate([("17", "fma avx2"), ("17", "fma avx2 avx512f"), ("1", "fma avx2")]):
        cpuinfo = tmp_path / str(number)
        core = f"cpu family\t: 25\nmodel\t\t: {model}\nflags\t\t: {flags}\ncpu MHz\t\t: "
        cpuinfo.write_text(f"processor\t: 0\n{core}2450\n\nprocessor\t: 1\n{core}3100\n")
        names.add(cpu_type(cpuinfo))
        cpuinfo.write_text(f"processor\t: 0\n{core}1200\n")
        assert cpu_type(cpuinfo) in names  # the clock is not part of it
    assert len(names) == 3
    assert cpu_type(tmp_path / "absent") == cpu_type(tmp_path / "absent")


def test_compilation_cache_is_enabled_by_default_and_can_be_disabled(tmp_path):
    code = (
        "import jax; from vitjax.execution.compilation_cache import enable; enable(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    assert output_of(code, XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "vitjax" / "xla" / cpu_type())
    assert output_of(code, XDG_CACHE_HOME=str(tmp_path), VITJAX_COMPILATION_CACHE="0") == "None"
    assert output_of(code, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == str(tmp_path / "own")
