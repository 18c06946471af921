"""The registry METRICS, and every metric as a plain function on arrays.

A key of METRICS is the metric's name on the command line and the name of its plain function in this package.

The examples use the names that `vitjax.methods` explains: vitjax, np, jnp, jax, model and image.
"""

from vitjax.errors import ConfigError, unknown_name
from vitjax.images.mask_values import IGNORE
from vitjax.methods.own import load_own
from vitjax.metrics.average_precision import AVERAGE_PRECISION, average_precision
from vitjax.metrics.complexity import COMPLEXITY, complexity
from vitjax.metrics.contract import Case, Metric, Statistic
from vitjax.metrics.focus import FOCUS, focus
from vitjax.metrics.insertion_deletion import DELETION, INSERTION, deletion, insertion
from vitjax.metrics.perturbation import AOPC, LOG_ODDS, PERTURBATION_AUC, aopc, log_odds, perturbation_auc
from vitjax.metrics.pointing_game import (
    ENERGY_POINTING_GAME,
    POINTING_GAME,
    energy_pointing_game,
    energy_scores,
    pointing_game,
)
from vitjax.metrics.randomization import RANDOMIZATION, random_target, randomization
from vitjax.metrics.removal import ends_of, wanted_ends
from vitjax.metrics.segmentation import (
    F1,
    IOU,
    JACCARD,
    MEAN_IOU,
    PIXEL_ACCURACY,
    counts,
    f1,
    iou,
    jaccard,
    mean_iou,
    pixel_accuracy,
)
from vitjax.metrics.sensitivity import SENSITIVITY, sensitivity
from vitjax.metrics.spearman import spearman

METRICS: dict[str, Metric] = {
    "pixel_accuracy": PIXEL_ACCURACY,
    "iou": IOU,
    "mean_iou": MEAN_IOU,
    "average_precision": AVERAGE_PRECISION,
    "f1": F1,
    "jaccard": JACCARD,
    "pointing_game": POINTING_GAME,
    "energy_pointing_game": ENERGY_POINTING_GAME,
    "focus": FOCUS,
    "perturbation_auc": PERTURBATION_AUC,
    "aopc": AOPC,
    "log_odds": LOG_ODDS,
    "deletion": DELETION,
    "insertion": INSERTION,
    "sensitivity": SENSITIVITY,
    "randomization": RANDOMIZATION,
    "complexity": COMPLEXITY,
}


def register(name: str, metric: Metric) -> None:
    """Register a metric under a new name.

    Raises:
        ConfigError: the name is already registered.

    Example:
        >>> vitjax.metrics.register("overlap", vitjax.METRICS["iou"]._replace(title="Overlap"))
        >>> vitjax.METRICS["overlap"].title
        'Overlap'
    """
    if name in METRICS:
        raise ConfigError(f"metric {name!r} is already registered")
    METRICS[name] = metric


def find_metric(name: str) -> Metric:
    """The metric registered under `name`. One of the form "module:name" is imported, and registered by that name.

    Raises:
        UnknownNameError: no such metric; the message suggests similar names.
        ConfigError: an option has no value, or the module of "module:name" cannot be imported or has no such metric.

    Example:
        >>> vitjax.metrics.find_metric("iou").title
        'IoU of the object'
    """
    if name not in METRICS:
        known, colon, option = name.partition(":")
        if known in METRICS:
            raise ConfigError(f"metric {name!r}: option {option!r} is not of the form name=value")
        if not colon:
            raise unknown_name("metric", name, METRICS)
        register(name, load_own(name, Metric))
    return METRICS[name]


__all__ = [
    "IGNORE",
    "METRICS",
    "Case",
    "Metric",
    "Statistic",
    "aopc",
    "average_precision",
    "complexity",
    "counts",
    "deletion",
    "ends_of",
    "energy_pointing_game",
    "energy_scores",
    "f1",
    "find_metric",
    "focus",
    "insertion",
    "iou",
    "jaccard",
    "log_odds",
    "mean_iou",
    "perturbation_auc",
    "pixel_accuracy",
    "pointing_game",
    "random_target",
    "randomization",
    "register",
    "sensitivity",
    "spearman",
    "wanted_ends",
]
