"""Targets that are no outputs of the model yet: texts, and embeddings. The model gets them as classes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vitjax.errors import ConfigError
from vitjax.explaining.targets import DIFFERENCE, TEXT, as_numpy
from vitjax.models.model import Model
from vitjax.models.text import text_tower, with_classes
from vitjax.nn.network import features
from vitjax.nn.vit_config import ViTConfig


def with_target_classes(model: Model, target: Any) -> tuple[Model, Any]:
    """The model with the texts and embeddings of a target as classes, and the target that names them.

    "text:WORDS" becomes the class WORDS: its logit is the similarity of the image and the text as it stands, or, if the
    model was loaded with `templates`, of the text in each of them. "text:A - text:B" is the difference of two. A vector
    of the width of the model's embedding becomes a class "embedding", for a model without classes or with similarities
    to classes; for any other model, and where its length is the number of classes, a vector is weights over the
    outputs. The classes of a similarity model stay.

    Raises:
        ConfigError: a text for a model without a text tower; a vector that may be both weights and an embedding.
    """
    target = _as_lists(target)
    entries = list(_entries(target))
    texts = list(dict.fromkeys(text for entry in entries for text in _texts(entry)))
    vectors = [entry for entry in entries if _is_embedding(model, entry)]
    names = ["embedding" if len(vectors) == 1 else f"embedding {number}" for number in range(1, 1 + len(vectors))]
    extended = model
    if new := [text for text in texts if model.labels is None or text not in model.labels.names]:
        extended = with_classes(extended, new, text_tower(model, f"target {TEXT}{new[0]}").classes(new))
    if vectors:
        extended = with_classes(extended, names, np.stack(vectors))
        numbers = itertools.count(extended.config.num_classes - len(vectors))
        target = _replaced(target, lambda entry: next(numbers) if _is_embedding(model, entry) else entry)
    return extended, target


def _as_lists(target: Any) -> Any:
    """The target with arrays as NumPy's, and a list of rows in place of a matrix."""
    target = as_numpy(target)
    if isinstance(target, (list, tuple)):
        return [_as_lists(entry) for entry in target]
    return list(target) if isinstance(target, np.ndarray) and target.ndim == 2 else target


def _entries(target: Any) -> Iterator[Any]:
    """The entries of a target, of all images."""
    if isinstance(target, list):
        for entry in target:
            yield from _entries(entry)
    else:
        yield target


def _replaced(target: Any, replacement: Callable[[Any], Any]) -> Any:
    """The target with `replacement` of each entry, in the order of `_entries`."""
    return [_replaced(entry, replacement) for entry in target] if isinstance(target, list) else replacement(target)


def _texts(entry: Any) -> list[str]:
    """The texts that an entry names."""
    if not isinstance(entry, str) or not entry.startswith(TEXT):
        return []
    texts = [part.strip() for part in entry.removeprefix(TEXT).split(f"{DIFFERENCE}{TEXT}")]
    if not all(texts):
        raise ConfigError(f"target {entry!r}: the text is empty")
    return texts


def _is_embedding(model: Model, entry: Any) -> bool:
    """Whether an entry is a vector that stands for an embedding, and not for weights over the outputs."""
    config = model.config
    if not isinstance(entry, np.ndarray) or entry.ndim != 1 or not np.issubdtype(entry.dtype, np.floating):
        return False
    if not isinstance(config, ViTConfig) or (config.num_classes and not config.similarity):
        return False
    if len(entry) == config.num_classes == features(config):
        raise ConfigError(
            f"target: a vector of {len(entry)} numbers may be weights over the classes of model {model.name!r} or an "
            f"embedding; add it as a class with vitjax.zero_shot"
        )
    return len(entry) != config.num_classes
