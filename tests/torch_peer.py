"""PyTorch as a peer to compare with: `import_timm` works even where torchvision's C extension cannot load."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# A Library takes its operators along when it is collected.
_alive: list[Any] = []


@cache
def import_timm() -> ModuleType:
    """The timm package, or a skip of the calling test where torch or timm is not installed.

    Beside a CPU torch the registry's torchvision cannot load its C extension, and then importing torchvision
    raises because it describes two operators that nobody defined. Only their schemas are needed.
    """
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    if not hasattr(torch.ops.torchvision, "nms") and not _extension_loads(torch):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _alive.append(library)
    return pytest.importorskip("timm")


def _extension_loads(torch: ModuleType) -> bool:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        pytest.skip("torchvision is not installed")
    for path in Path(found.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False
