"""What happens before the first map: imports stay light, compiled programs are kept on disk."""

import os
import subprocess
import sys

HEAVY = ("torch", "timm", "matplotlib", "orbax", "optax", "huggingface_hub", "jinja2")


def run(code, **environment):
    # Benchmarks, which are tested in the same process, switch the cache off for themselves and their children.
    inherited = {name: value for name, value in os.environ.items() if name != "VITJAX_COMPILATION_CACHE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**inherited, **environment}, check=True
    )
    return done.stdout.strip()


def test_import_leaves_heavy_packages_alone():
    loaded = run("import vitjax, sys; print(*sorted(sys.modules))").split()
    assert not [name for name in HEAVY if name in loaded]


def test_compilation_cache_is_on_by_default_and_can_be_switched_off(tmp_path):
    code = (
        "import jax; from vitjax.execution.compilation_cache import enable; enable(); "
        "print(jax.config.jax_compilation_cache_dir)"
    )
    assert run(code, XDG_CACHE_HOME=str(tmp_path)) == str(tmp_path / "vitjax" / "xla")
    assert run(code, XDG_CACHE_HOME=str(tmp_path), VITJAX_COMPILATION_CACHE="0") == "None"
    assert run(code, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own")) == str(tmp_path / "own")
