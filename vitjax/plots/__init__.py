"""Drawings of relevance maps: functions from numpy arrays to PIL images and matplotlib figures.

Matplotlib is imported on first use; pyplot and matplotlib's other global state are not used.
"""

from vitjax.plots.features import feature_sheet
from vitjax.plots.figures import save
from vitjax.plots.grid import comparison_grid
from vitjax.plots.overlay import overlay
from vitjax.plots.sheet import attention_sheet
from vitjax.plots.strip import strip

__all__ = ["attention_sheet", "comparison_grid", "feature_sheet", "overlay", "save", "strip"]
