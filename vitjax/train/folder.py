"""Fine-tuning on a folder of pictures, one sub-folder a class."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vitjax.errors import ImageError
from vitjax.images.reading import Preprocessing, preprocess
from vitjax.models.class_names import Labels
from vitjax.models.model import Model
from vitjax.nn.network import transformer
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params
from vitjax.train.trainer import Batch, TrainConfig, train


def finetune(model: Model, folder: str | Path, train_config: TrainConfig, out: str | Path) -> Model:
    """Train all weights of a model further on the pictures of a folder, by softmax cross-entropy.

    Args:
      model: where to start; its own preprocessing is applied to the pictures.
      folder: FOLDER/CLASS/PICTURE; classes are the sub-folders in alphabetical order.
      train_config: the recipe. 1e-4 is a usual learning rate for a pretrained ViT.
      out: directory of checkpoints and log, see `train`; the same call again continues an interrupted run.
    Returns: the model with its new weights and class names. Its head starts anew, from zeros, unless the
      number of classes is the same.
    Raises: ConfigError for a ResNet; ImageError for a folder without classes or a picture that cannot be read,
      with its path; what `train` raises.
    Cost: decoding, a forward and a backward of train_config.steps * train_config.batch_size pictures.
    """
    known = transformer(model.config, "finetune", model.name)
    pictures = FolderBatches(Path(folder), model.preprocessing, train_config.seed)
    config = replace(known, num_classes=len(pictures.classes))
    params = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), model.params)
    if config.num_classes != model.config.num_classes:
        params = with_new_head(params, config)
    params = train(config, pictures, train_config, out, params)
    labels = Labels(pictures.classes)
    return replace(model, config=config, params=params, labels=labels, weights={"source": str(out)})


def with_new_head(params: Params, config: ViTConfig) -> Params:
    """`params` with the heads that `config` has, as zeros: every class starts equally likely."""
    blank = jnp.zeros((*config.image_size, 3))
    shapes = jax.eval_shape(lambda: ViT(config).init(jax.random.key(0), blank)["params"])
    heads = {name: jax.tree.map(jnp.zeros_like, shapes[name]) for name in shapes if name.startswith("head")}
    return {**params, **heads}


class FolderBatches:
    """A source of batches (`vitjax.train.Source`): the pictures of a folder, shuffled anew in every epoch.

    classes: the sub-folders that hold pictures, sorted by name. listed: (path, class index) of every picture.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing, seed: int = 0):
        suffixes = Image.registered_extensions()
        found = {
            directory.name: sorted(path for path in directory.iterdir() if path.suffix.lower() in suffixes)
            for directory in sorted(path for path in folder.glob("*") if path.is_dir())
        }
        self.classes = tuple(name for name, paths in found.items() if paths)
        self.listed = [(path, label) for label, name in enumerate(self.classes) for path in found[name]]
        if not self.listed:
            raise ImageError(f"{folder}: no pictures in sub-folders (expected CLASS/PICTURE)")
        self.preprocessing = preprocessing
        self.seed = seed
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.listed))

    def __call__(self, step: int, batch_size: int) -> Batch:
        images, labels = [], []
        for position in range(step * batch_size, (step + 1) * batch_size):
            epoch, place = divmod(position, len(self.listed))
            path, label = self.listed[self._order(epoch)[place]]
            images.append(preprocess(path, self.preprocessing))
            labels.append(label)
        return Batch(np.stack(images), np.array(labels))
