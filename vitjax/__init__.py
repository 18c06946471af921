"""vitjax: explain Vision Transformers. `load` a model, `explain` an image."""

from vitjax.api import explain, explain_many, trace
from vitjax.evaluation import Run, evaluate
from vitjax.explanation import Explanation
from vitjax.methods import METHODS, Method, register
from vitjax.metrics import METRICS
from vitjax.metrics.base import Metric
from vitjax.model import Model
from vitjax.vit import ViT, ViTConfig
from vitjax.zoo import from_timm, load

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "METRICS",
    "Explanation",
    "Method",
    "Metric",
    "Model",
    "Run",
    "ViT",
    "ViTConfig",
    "evaluate",
    "explain",
    "explain_many",
    "from_timm",
    "load",
    "register",
    "trace",
]
