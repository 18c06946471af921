"""vitjax: explain Vision Transformers in JAX.

`load` a model, `explain` its images by one method or `explain_many`, and `evaluate` methods over a data set.

Example:
    >>> import vitjax
    >>> from vitjax.data.scenes import scene
    >>> vitjax.explain(vitjax.load("vitjax_scenes"), scene(3).image, "transformer_mm").overlay(0).size
    (64, 64)
"""

import vitjax.execution.starting  # noqa: F401 - before all that takes long to import

# isort: split
from vitjax.evaluating.run import Run, evaluate
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import figure
from vitjax.explaining.run import explain, explain_many, trace
from vitjax.methods import METHODS, Method, register
from vitjax.metrics import METRICS
from vitjax.metrics.contract import Metric
from vitjax.models.function import from_function
from vitjax.models.load import from_timm, load
from vitjax.models.load import names as model_names
from vitjax.models.model import Model
from vitjax.models.text import zero_shot
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig

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
    "figure",
    "from_function",
    "from_timm",
    "load",
    "model_names",
    "register",
    "trace",
    "zero_shot",
]


def __dir__() -> list[str]:
    """The public names; other packages are imported by their full names."""
    return sorted([*__all__, "__version__", "methods", "metrics"])
