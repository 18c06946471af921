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


SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="real weights and photographs are not here")
