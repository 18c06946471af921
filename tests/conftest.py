"""What every test may use: where the shared data lies. PyTorch peers are in `torch_peer`."""

import os
from pathlib import Path

import pytest

# Before anybody imports torch: more threads than this only contend with XLA's.
os.environ.setdefault("OMP_NUM_THREADS", "2")


def pytest_configure(config):
    """The quick suite compiles without optimising, in two thirds of the time; the whole one as users do."""
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_collection_modifyitems(config, items):
    """What is in the quick suite in place of something larger has nothing to add to the whole one."""
    if config.option.markexpr != "not slow":
        replaced = [item for item in items if item.get_closest_marker("quick_only")]
        config.hook.pytest_deselected(items=replaced)
        items[:] = [item for item in items if item not in set(replaced)]


@pytest.fixture(scope="module", autouse=True)
def optimising(request):
    """Modules that compile a lot, most of it for tiny models, say `pytestmark = pytest.mark.unoptimised`; recorded
    maps, command lines and runs are compiled as users do."""
    import jax

    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("unoptimised") is not None)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="real weights and photographs are not here")


@pytest.fixture
def four_threads(monkeypatch):
    """As on a machine with four cores; each test has threads of its own."""
    from vitjax.execution import worker_threads

    monkeypatch.setattr(worker_threads.os, "sched_getaffinity", lambda process: range(4), raising=False)
    worker_threads._threads.cache_clear()
    yield
    worker_threads._threads.cache_clear()
