"""Settings and fixtures of all tests, and the location of the shared data. PyTorch peers are in `torch_peer`."""

import gc
import os
import sys
from pathlib import Path

import pytest

from tests.browser import browser  # noqa: F401 (a fixture of all tests)

# Must be set before the first import of torch. More threads than this would only contend with XLA's.
os.environ.setdefault("OMP_NUM_THREADS", "2")


def pytest_configure(config):
    """Compile without optimisation in the quick suite (`-m "not slow"`), which takes two thirds of the time. The
    complete suite compiles as users do."""
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_collection_modifyitems(config, items):
    """Deselect `quick_only` tests in the complete suite, which has a larger test in place of each."""
    if config.option.markexpr != "not slow":
        replaced = [item for item in items if item.get_closest_marker("quick_only")]
        config.hook.pytest_deselected(items=replaced)
        items[:] = [item for item in items if item not in set(replaced)]


@pytest.fixture(scope="module", autouse=True)
def compiler_optimisation(request):
    """Disable optimisation in test modules with `pytestmark = pytest.mark.unoptimised`.

    Modules that compile many programs for tiny models have the mark. Tests of recorded maps, of command lines and of
    runs do not: their programs are compiled as users compile them.

    The compiled programs of a module are dropped after it. A process that kept those of all modules would exceed the
    number of memory mappings that Linux allows (65,530; a program has several) and die inside of the compiler.
    """
    import jax

    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("unoptimised") is not None)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    clear_programs()


def clear_programs():
    """Drop all compiled programs: those of JAX, and those that vitjax's modules keep by themselves."""
    import jax

    for name, module in list(sys.modules.items()):
        if name == "vitjax.models.families":  # which keeps the table of models, as tests do that change it
            continue
        if name.startswith(("vitjax.", "weights_convert.", "benchmarks.")):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)) and value.__module__ == name:
                    value.cache_clear()
    jax.clear_caches()
    gc.collect()


SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs real weights and photographs in ../shared")


@pytest.fixture
def four_threads(monkeypatch):
    """Four worker threads, as on a machine with four cores, created anew for each test."""
    from vitjax.execution import worker_threads

    monkeypatch.setattr(worker_threads.os, "sched_getaffinity", lambda process: range(4), raising=False)
    worker_threads._threads.cache_clear()
    yield
    worker_threads._threads.cache_clear()


@pytest.fixture
def registries():
    """METHODS and METRICS as they were, after examples that register something."""
    import vitjax

    kept = [(registry, dict(registry)) for registry in (vitjax.METHODS, vitjax.METRICS)]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)
