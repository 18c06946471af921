"""Pictures of maps: arrays in, PIL images and matplotlib figures out.

Nothing here touches pyplot or other global state of matplotlib, which is imported on first use only.
"""

from vitjax.plots.features import feature_sheet
from vitjax.plots.figures import save
from vitjax.plots.grid import comparison_grid
from vitjax.plots.overlay import overlay
from vitjax.plots.sheet import attention_sheet
from vitjax.plots.strip import strip

__all__ = ["attention_sheet", "comparison_grid", "feature_sheet", "overlay", "save", "strip"]
