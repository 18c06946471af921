"""Imports timm for tests that compare with PyTorch."""

from functools import cache
from types import ModuleType

import pytest

from vitjax.errors import WeightsError
from weights_convert import check


@cache
def import_timm() -> ModuleType:
    """The timm package, with PyTorch limited to two threads. Skips the calling test if either is not installed."""
    pytest.importorskip("torch").set_num_threads(2)
    try:
        return check.import_timm()
    except WeightsError as error:
        pytest.skip(str(error))
