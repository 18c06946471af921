"""Texts as classes: the text tower of a model, and classifiers whose classes are texts or embeddings."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError, WeightsError
from vitjax.models.class_names import Labels
from vitjax.models.model import Model
from vitjax.nn.network import features, transformer
from vitjax.nn.text import Clean, TextConfig, text_embeddings
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params

TEMPLATES = ("a photo of a {}.",)
"""The prompt of OpenAI's CLIP for a class name."""


@dataclass(frozen=True, eq=False)
class TextTower:
    """The text tower of a CLIP or SigLIP model.

    config, params: architecture and parameters.
    scale, bias: a logit is scale · cosine of the embeddings + bias.
    tokenizer: the file tokenizer.json; None if the model has none.
    clean: what is done to texts before the tokenizer: "none" for CLIP, whose tokenizer does it; "canonical" lowercases,
        removes punctuation and joins white space, as for SigLIP; "lower" lowercases, as transformers does for SigLIP 2.
    pad: id of the token that texts are padded with.
    templates: prompts with "{}" in place of a text, for texts that become classes; the text as it stands by default.
    """

    config: TextConfig
    params: Params
    scale: float = 1.0
    bias: float = 0.0
    tokenizer: Path | None = None
    clean: Clean = "none"
    pad: int = 0
    templates: tuple[str, ...] = ("{}",)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids int32 [t, length], padded; longer texts are cut, as in the models' own tokenizers.

        Raises:
            ConfigError: the model has no tokenizer.json, or `tokenizers` is not installed.
            WeightsError: tokenizer.json is damaged, or has more tokens than the tower.
        """
        if self.tokenizer is None:
            raise ConfigError("the model has no tokenizer.json, which texts need: put it beside the weights")
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ConfigError("texts need the package tokenizers: pip install 'vitjax[text]'") from error
        try:
            tokenizer = Tokenizer.from_file(str(self.tokenizer))
        except Exception as error:  # the library raises no class of its own
            raise WeightsError(f"{self.tokenizer}: not a tokenizer: {' '.join(str(error).split())[:200]}") from error
        tokenizer.enable_truncation(self.config.length)
        tokenizer.no_padding()
        rows = [encoded.ids for encoded in tokenizer.encode_batch([self._tidied(text) for text in texts])]
        ids = np.full((len(rows), self.config.length), self.pad, np.int32)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        if ids.max() >= self.config.vocabulary:
            raise WeightsError(f"{self.tokenizer}: has token {ids.max()}, the tower has {self.config.vocabulary}")
        return ids

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit embeddings [t, e] of texts, float32 or float64. Cost: one forward of the tower for each text."""
        ids = self.ids(texts)
        with jax.default_matmul_precision("highest"):
            return np.asarray(text_embeddings(self.config, self.params, ids))

    def classes(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings [t, e] of texts as classes: the mean over `templates` of the unit embeddings of their prompts."""
        prompts = [template.replace("{}", text) for text in texts for template in self.templates]
        return self.embed(prompts).reshape(len(texts), len(self.templates), -1).mean(axis=1)

    def _tidied(self, text: str) -> str:
        if self.clean == "none":
            return text
        if self.clean == "lower":
            return text.lower()
        return " ".join(text.translate(str.maketrans("", "", string.punctuation)).lower().split())


def with_text(model: Model, tower: TextTower) -> Model:
    """The image tower `model` with its text tower.

    Raises:
        ConfigError: their embeddings have different widths.
    """
    if features(model.config) != tower.config.embedding:
        raise ConfigError(
            f"model {model.name!r}: the embedding of images has width {features(model.config)}, that of texts "
            f"{tower.config.embedding}"
        )
    return replace(model, text=tower)


def zero_shot(
    model: Model,
    class_names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    *,
    embeddings: Any = None,
) -> Model:
    """A classifier whose classes are texts: logits are similarities of an image's embedding and the texts'.

    logit_k = scale · cos(image, mean over templates of the unit embeddings of class k) + bias (Radford et al. 2021,
    section 3.1; Zhai et al. 2023 for the bias), with the scale and bias of the model; 1 and 0 for a model without a
    text tower. Every method, metric and `evaluate` run on it as on another classifier.

    Args:
        model: a CLIP or SigLIP with both towers; or a model without classes, with `embeddings`.
        class_names: one name for each class.
        templates: prompts that contain "{}" in place of the name; ("{}",) takes the names as they are.
        embeddings: [k, e], embeddings of the classes, such as prototypes, in place of those of the texts; each is
            normalised.

    Returns:
        The model with classes. Its probabilities are the softmax of its logits; SigLIP's own are sigmoids.

    Raises:
        ConfigError: the model has no text tower, or classes of its own; names repeat, or a template lacks "{}"; or
            embeddings of another shape, not finite or 0.

    Cost: one forward of the text tower for each class and template.

    Example:
        >>> from dataclasses import replace
        >>> headless = replace(model.config, num_classes=0)
        >>> params = {name: leaf for name, leaf in model.params.items() if name != "head"}
        >>> tower = replace(model, config=headless, params=params, labels=None)
        >>> prototypes = np.eye(2, headless.width)
        >>> vitjax.zero_shot(tower, ["first", "second"], embeddings=prototypes).logits(model.preprocess(image)).shape
        (1, 2)
    """
    names = tuple(class_names)
    if isinstance(class_names, str) or not names or len(set(names)) < len(names):
        raise ConfigError("class_names must be a list of different names, at least one")
    templates = checked_templates(templates)
    if embeddings is not None:
        return with_classes(model, names, embeddings, keep=False)
    tower = replace(text_tower(model, "zero-shot classes"), templates=templates)
    classifier = with_classes(model, names, tower.classes(names), keep=False)
    return replace(classifier, weights={**classifier.weights, "templates": list(templates)})


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates. Raises ConfigError if there are none, or one does not contain {} in place of the text."""
    if isinstance(templates, str) or not templates or not all("{}" in template for template in templates):
        raise ConfigError("templates must be a list of texts that contain {} in place of the class name")
    return tuple(templates)


def text_tower(model: Model, what: str) -> TextTower:
    """The model's text tower. Raises ConfigError if it has none; `what` needs it."""
    if model.text is None:
        raise ConfigError(
            f"{what}: model {model.name!r} has no text tower; a CLIP or SigLIP with both towers has one: give its "
            "folder or hub id, such as openai/clip-vit-base-patch16"
        )
    return model.text


def with_classes(model: Model, names: Sequence[str], embeddings: Any, *, keep: bool = True) -> Model:
    """A model whose classes are embeddings [k, e], which need not be normalised.

    Args:
        keep: whether classes of a similarity model stay, before the new ones.

    Raises:
        ConfigError: the model is a classifier whose outputs are no embedding; embeddings of another shape, not finite
            or 0.
    """
    config = transformer(model.config, "similarity to embeddings", model.name)
    if config.num_classes and not config.similarity:
        raise ConfigError(
            f"model {model.name!r} has {config.num_classes} classes of its own: its outputs are no embedding"
        )
    vectors = np.asarray(embeddings, np.float64)
    if vectors.shape != (len(names), features(config)):
        raise ConfigError(
            f"embeddings {list(vectors.shape)}: model {model.name!r} needs {[len(names), features(config)]}"
        )
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(vectors).all() or not lengths.all():
        raise ConfigError("embeddings must be finite, and not 0")
    scale, bias = (1.0, 0.0) if model.text is None else (model.text.scale, model.text.bias)
    classes = {"kernel": scale * (vectors / lengths).T, "bias": np.full(len(names), bias)}
    if keep and config.similarity:
        before = model.params["classes"]
        names = (*model.labels.names, *names) if model.labels is not None else names
        classes = {name: np.concatenate([np.asarray(before[name]), new], axis=-1) for name, new in classes.items()}
    return _with_head(model, config, classes, names)


def _with_head(model: Model, config: ViTConfig, classes: dict[str, np.ndarray], names: Sequence[str]) -> Model:
    params = {**model.params, "classes": {name: jnp.asarray(value, model.dtype) for name, value in classes.items()}}
    count = classes["bias"].shape[0]
    config = replace(config, similarity=True, num_classes=count)
    weights = {**model.weights, "classes": list(names)}
    return replace(model, config=config, params=params, labels=Labels(tuple(names)), weights=weights)
