"""Training and fine-tuning of Vision Transformers, and the recipe of the bundled model."""

from vitjax.train.folder import finetune
from vitjax.train.recipe import TrainConfig
from vitjax.train.trainer import Batch, train

__all__ = ["Batch", "TrainConfig", "finetune", "train"]
