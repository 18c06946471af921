"""The import of matplotlib, which needs no display backend here: figures are drawn by Agg."""

from __future__ import annotations

import contextlib
import os
import sys


def import_matplotlib() -> None:
    """Import matplotlib even if MPLBACKEND names a backend that this environment lacks, as in a notebook's shell.

    Matplotlib would refuse to be imported. A backend that is there stays the one that pyplot will use.
    """
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = named
