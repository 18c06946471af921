"""`ModelRun`: one image run through one model, with all the activations and gradients that formulas read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from vitjax.nn.vit_config import ViTConfig


class Trace(NamedTuple):
    """Activations of all blocks and gradients of one score by them, named as in vitjax.layerwise.fold.LayerTrace.

    The first axis of every array is the layer. Matrices of attention are [query, key].
    """

    tokens: np.ndarray
    normed: np.ndarray
    middle: np.ndarray
    output: np.ndarray
    values: np.ndarray
    scores: np.ndarray
    attention: np.ndarray
    tokens_grad: np.ndarray
    normed_grad: np.ndarray
    output_grad: np.ndarray
    scores_grad: np.ndarray
    attention_grad: np.ndarray


class FullGradient(NamedTuple):
    """Gradients of a score by the image, the position embedding and the outputs of all linear layers."""

    image_grad: np.ndarray  # [H, W, 3]
    positions: np.ndarray  # [tokens, c]
    positions_grad: np.ndarray
    biases: list[tuple[np.ndarray, np.ndarray]]  # (bias [o], gradient by the layer's output [tokens, o])


class Relevance(NamedTuple):
    """Relevance of one image, and the gradient of the explained logit by attention."""

    attention: np.ndarray  # [l, h, n, m]
    tokens: np.ndarray  # [l, n, c], at the input of each block
    pixels: np.ndarray  # [H, W, 3]
    attention_grad: np.ndarray  # [l, h, n, m]


class ModelRun(ABC):
    """One image run through one model, for the score of one class.

    config: the architecture.
    image: normalised pixels [H, W, 3].
    traces: the `Trace` of each score, "logit" and "probability".
    """

    config: ViTConfig
    image: np.ndarray
    traces: dict[str, Trace]

    def pool_queries(self, square: np.ndarray) -> np.ndarray:
        """Reduce the queries of [..., n, m] as the head does: the class token's, or the mean over the patches'."""
        if self.config.pool == "token":
            return square[..., 0, :]
        return square[..., self.config.prefix :, :].mean(-2)

    def patches(self, row: np.ndarray) -> np.ndarray:
        """The patches' entries of [..., n]."""
        return row[..., self.config.prefix :]

    @abstractmethod
    def trace(self, image: np.ndarray, score: str) -> Trace:
        """The `Trace` of another image [H, W, 3] for a score."""

    @abstractmethod
    def residual_attention_grad(self) -> np.ndarray:
        """Gradient of the logit by attention [l, h, n, m], along skip connections and MLPs only (AG-CAM)."""

    @abstractmethod
    def local_attention_grad(self, layer: int, pool: str) -> np.ndarray:
        """Gradient by a layer's attention [h, n, m] of the logit that the head gives this layer's output (LeGrad).

        pool: "cls" for the model's own pooling, "mean" for the mean over all tokens.
        """

    @abstractmethod
    def score(self, image: np.ndarray, score: str) -> float:
        """The score of another image [H, W, 3]."""

    @abstractmethod
    def image_gradient(self, image: np.ndarray, score: str) -> np.ndarray:
        """Gradient of the score of an image [H, W, 3] by its pixels."""

    @abstractmethod
    def full_gradient(self, score: str) -> FullGradient:
        """The gradients of FullGrad."""

    @abstractmethod
    def projection(self, layer: int) -> np.ndarray:
        """The kernel [inputs, outputs] of a layer's attention projection."""

    @abstractmethod
    def layer_scale(self, layer: int) -> np.ndarray:
        """The factors [c] of a layer's first LayerScale."""

    def relevance(self, rules: str) -> Relevance:
        """Relevance by the rules "zplus" or "original". Only `TorchRun` implements it."""
        raise NotImplementedError

    def modified_gradient(self, rule: str) -> tuple[np.ndarray, np.ndarray]:
        """Gradients by tokens [n, c] and pixels [H, W, 3] with a rule of `modified_gradient`. As `relevance`."""
        raise NotImplementedError
