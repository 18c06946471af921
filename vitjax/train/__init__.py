"""Training and fine-tuning of Vision Transformers, and the recipe of the bundled model."""

from vitjax.train.folder import finetune
from vitjax.train.trainer import Batch, TrainConfig, train

__all__ = ["Batch", "TrainConfig", "finetune", "train"]
