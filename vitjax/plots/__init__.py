"""Drawings of relevance maps: functions from numpy arrays to PIL images and matplotlib figures.

Matplotlib is imported on first use; pyplot and matplotlib's other global state are not used. `vitjax.figure` draws what
`vitjax.explain_many` returns; here are its parts.
"""

from vitjax.plots.cells import Cell, Colours, overlay_cell
from vitjax.plots.features import feature_sheet
from vitjax.plots.figures import save
from vitjax.plots.grid import Grid, Placed, draw_grid
from vitjax.plots.overlay import overlay
from vitjax.plots.sheet import attention_sheet
from vitjax.plots.strip import strip

__all__ = [
    "Cell",
    "Colours",
    "Grid",
    "Placed",
    "attention_sheet",
    "draw_grid",
    "feature_sheet",
    "overlay",
    "overlay_cell",
    "save",
    "strip",
]
