"""Imports timm for tests that compare with PyTorch, also where torchvision's C extension cannot be loaded."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# A torch Library removes its operators when it is garbage-collected.
_libraries: list[Any] = []


@cache
def import_timm() -> ModuleType:
    """The timm package. Skips the calling test if torch or timm is not installed.

    PyPI's torchvision cannot load its C extension next to a CPU build of torch. Importing torchvision then raises,
    because it describes two operators that are not defined. Defining their schemas is all that the import needs.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    if not hasattr(torch.ops.torchvision, "nms") and not _extension_loads(torch):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)
    return pytest.importorskip("timm")


def _extension_loads(torch: ModuleType) -> bool:
    """Whether torchvision's C extension can be loaded; it then registers its operators."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchvision is not installed")
    for path in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False
