"""Fine-tuning on a folder of images with one sub-folder per class."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.data.listing import describe, list_images
from vitjax.errors import ImageError
from vitjax.images.reading import Preprocessing, preprocess
from vitjax.models.class_names import Labels
from vitjax.models.model import Model
from vitjax.nn.network import transformer
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.terminal import say
from vitjax.shapes import Params
from vitjax.train.recipe import TrainConfig
from vitjax.train.trainer import Batch, train


def finetune(model: Model, folder: str | Path, train_config: TrainConfig, out: str | Path) -> Model:
    """Fine-tune all weights of a model on the images of a folder by softmax cross-entropy.

    Args:
        model: the initial model. Its preprocessing is applied to the images.
        folder: FOLDER/CLASS/IMAGE; the classes are the sub-folders in alphabetical order.
        train_config: the recipe. 1e-4 is a usual learning rate for a pretrained ViT.
        out: directory of checkpoints and log, see `train`. Calling the function again resumes an interrupted run.

    Returns:
        The model with the new weights and class names. Its head starts from zeros unless the number of classes is
        the same.

    Raises:
        ConfigError: the model is a ResNet.
        ImageError: the folder contains no images in sub-folders, or an image cannot be read (the message names it).
        Also what `train` raises.

    Cost: decoding, 1F and 1B of train_config.steps * train_config.batch_size images.

    Example:
        finetune(vitjax.load("deit_tiny_patch16_224"), "flowers", TrainConfig(steps=2000, learning_rate=1e-4), "run")
    """
    vit_config = transformer(model.config, "finetune", model.name)
    batches = FolderBatches(Path(folder), model.preprocessing, train_config.seed)
    config = replace(vit_config, num_classes=len(batches.classes))
    params = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), model.params)
    if config.num_classes != model.config.num_classes:
        params = with_new_head(params, config)
    params = train(config, batches, train_config, out, params)
    labels = Labels(batches.classes)
    return replace(model, config=config, params=params, labels=labels, weights={"source": str(out)})


def with_new_head(params: Params, config: ViTConfig) -> Params:
    """The parameters with the heads of `config`, filled with zeros: all classes are equally likely at first."""
    blank = jnp.zeros((*config.image_size, 3))
    shapes = jax.eval_shape(lambda: ViT(config).init(jax.random.key(0), blank)["params"])
    heads = {name: jax.tree.map(jnp.zeros_like, shapes[name]) for name in shapes if name.startswith("head")}
    return {**params, **heads}


class FolderBatches:
    """A source of batches (`vitjax.train.trainer.Source`): the images of a folder, shuffled again in every epoch.

    Attributes:
        classes: names of the sub-folders that contain images, sorted.
        labelled_paths: (path, class index) of every image.

    Raises:
        ImageError: the folder contains no images in sub-folders.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing, seed: int = 0):
        listing = list_images(folder)
        paths_by_class: dict[str, list[Path]] = {}
        for path in sorted(listing.files):
            name, *below = path.relative_to(folder).parts
            if below:
                paths_by_class.setdefault(name, []).append(path)
        self.classes = tuple(sorted(paths_by_class))
        self.labelled_paths = [
            (path, label) for label, name in enumerate(self.classes) for path in paths_by_class[name]
        ]
        loose = len(listing.files) - len(self.labelled_paths)
        passed_over = {**listing.skipped, **({"image in no class": loose} if loose else {})}
        if passed_over:
            say(f"{folder}: {len(self.labelled_paths)} images; passed over: {describe(passed_over)}", error=True)
        if not self.labelled_paths:
            raise ImageError(f"{folder}: contains no images in sub-folders (expected CLASS/IMAGE)")
        self.preprocessing = preprocessing
        self.seed = seed
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.labelled_paths))

    def __call__(self, step: int, batch_size: int) -> Batch:
        images, labels = [], []
        for position in range(step * batch_size, (step + 1) * batch_size):
            epoch, place = divmod(position, len(self.labelled_paths))
            path, label = self.labelled_paths[self._order(epoch)[place]]
            images.append(preprocess(path, self.preprocessing))
            labels.append(label)
        return Batch(np.stack(images), np.array(labels))
