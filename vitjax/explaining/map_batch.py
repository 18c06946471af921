"""`MapBatch`: raw maps of one method with what they are of, in numbers and words; `Explanation` draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import jax
import numpy as np

from vitjax import maps as map_functions
from vitjax.errors import ConfigError
from vitjax.explaining.inputs import Images
from vitjax.explaining.probabilities import probabilities_of, with_probability
from vitjax.explaining.targets import Targets
from vitjax.methods import METHODS
from vitjax.models.model import Model

_to_display = map_functions.deliberate_nans(
    partial(jax.jit, static_argnames=("size", "signed", "covered", "percentile"))(map_functions.to_display)
)


@dataclass(frozen=True, eq=False, repr=False)
class MapBatch:
    """Maps of one method over a batch of b images; or b maps of fewer images, where images have several targets.

    The maps of an image then stand together, in the order of its targets, and `images` repeats the image for each.

    `vitjax.explain` returns it as an `Explanation`. The examples of the methods go on from this one; `vitjax.methods`
    says what `model` and `image` are.

    Example:
        >>> e = vitjax.explain(model, image, "transformer_mm", target="plain ring")
        >>> e.maps.shape, e.target.tolist(), e.predicted.tolist(), e.signed, e.degenerate.tolist()
        ((1, 8, 8), [3], [4], False, [False])
    """

    maps: np.ndarray
    """Raw relevance, not normalised: [b, h, w] on the patch grid (level "token") or [b, H, W] (level "pixel")."""
    target: np.ndarray
    """Explained class of each map, int32 [b]; of a model without a head the feature, -1 if no output is explained;
    -3 where a map explains a combination of outputs."""
    logits: np.ndarray
    """[b, k]"""
    method: str
    """Name of the method in `vitjax.METHODS`."""
    label: str
    """The method's name, with the options that were given in parentheses."""
    options: dict[str, Any]
    """All options, defaults included."""
    level: str
    """"token" or "pixel": what a cell of a map stands for."""
    images: Images
    model: Model
    targets: Targets
    """The explained targets as the program takes them, with the index of each map's image."""

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: Any) -> Self:
        """The explanation of one map, of a slice or of a list of them: `e[0]`, `e[:3]`, `e[[2, 0]]`."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return replace(
            self,
            maps=self.maps[chosen],
            target=self.target[chosen],
            logits=self.logits[chosen],
            images=self.images.take(chosen.tolist()),
            targets=self.targets.take(chosen),
        )

    def __iter__(self) -> Iterator[Self]:
        """One map after the other, each with its image."""
        return (self[index] for index in range(len(self)))

    @property
    def image_index(self) -> np.ndarray:
        """Index of each map's image in the call, int [b]: 0, 1, 2 ... if every image has one target."""
        return self.targets.image_index

    @property
    def starts(self) -> list[int]:
        """The index of the first map of each image."""
        of_image = self.image_index.tolist()
        return [index for index in range(len(self)) if index == 0 or of_image[index] != of_image[index - 1]]

    @property
    def distinct(self) -> Self:
        """The maps that may differ: one for each image of a class-agnostic method, all of another."""
        return self[self.starts] if self.class_agnostic and len(self.starts) < len(self) else self

    @property
    def target_names(self) -> tuple[str, ...]:
        """What each map explains, in words: the name of a class, "A - B", or what else the target is called."""
        return tuple(
            ("" if index < 0 else self.model.label(int(index))) if name is None else name
            for index, name in zip(self.target, self.targets.names, strict=True)
        )

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class of each image, int [b]; -1 for a model without a head, which predicts none."""
        return self.logits.argmax(axis=-1) if self.has_classes else np.full(len(self), -1)

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, [b, k]; the sigmoid of the logit for a model with one output.

        Raises:
            ConfigError: the model has no head, so that its outputs are features, or one text, which has a similarity.
        """
        if self.model.probability is None:
            has = "one text, which has a similarity" if self.has_classes else "no head: its outputs are features"
            raise ConfigError(f"model {self.model.name!r} has {has} without probabilities")
        return probabilities_of(self.logits)

    @property
    def has_classes(self) -> bool:
        """Whether the model has a head, so that its outputs are logits of classes."""
        return self.model.config.num_classes > 0

    @property
    def degenerate(self) -> np.ndarray:
        """bool [b]: the map is constant (such as all zero) or not finite, so it ranks no part of the image."""
        return np.asarray(map_functions.are_degenerate(self.maps))

    @property
    def signed(self) -> bool:
        """Whether any map contains negative relevance, evidence against the class; figures then show 0 as neutral."""
        return bool((self.maps < 0).any())

    @property
    def class_agnostic(self) -> bool:
        """Whether the method gives the same map whichever class is explained, so that no map is of a class."""
        return not METHODS[self.method].class_specific

    def pixels(self) -> np.ndarray:
        """Maps at pixel size: upsampled bilinearly and min-max normalised to [0, 1] per image, [b, H, W].

        Example:
            >>> pixels = e.pixels()
            >>> pixels.shape, float(pixels.min()), float(pixels.max())
            ((1, 64, 64), 0.0, 1.0)
        """
        return np.asarray(map_functions.all_to_pixels(self.maps, self.size, self.model.config.covered))

    def heatmap(self, index: int, percentile: float | None = None) -> np.ndarray:
        """What figures show of one map, [H, W]: in [0, 1], or in [-1, 1] if any map has negative relevance.

        Args:
            index: of the map.
            percentile: as for `vitjax.maps.to_display`.

        Example:
            >>> heatmap = e.heatmap(0)
            >>> heatmap.shape, float(heatmap.min()), float(heatmap.max())
            ((64, 64), 0.0, 1.0)
        """
        signed = self.signed and not self.degenerate[index]
        covered = self.model.config.covered
        options = {"signed": signed, "covered": covered, "percentile": percentile}
        return np.asarray(_to_display(self.maps[index], self.size, **options))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's input in pixels."""
        height, width = self.images.pixels.shape[1:3]
        return height, width

    def completeness_gap(self) -> np.ndarray:
        """Relative completeness error of each map: |Σ map - (s(x) - s(0))| / |s(x) - s(0)|.

        s is the target's logit (its weighted sum, or its function of the logits), or its probability if the option
        `score` says so; the baseline 0 is the mean colour.

        Returns:
            Float [b], at least 0. It is 0 for complete methods (integrated gradients, up to their quadrature error) and
            meaningless for other methods.

        Cost: 1F, of the baseline.

        Example:
            >>> e.completeness_gap().shape
            (1,)
        """
        baseline = np.asarray(self.model.logits(np.zeros_like(self.images.x[:1])), self.logits.dtype)
        baselines = np.repeat(baseline, len(self), axis=0)
        if self.options.get("score") == "probability":
            maps_index = np.arange(len(self))
            difference = (self.probabilities - probabilities_of(baselines))[maps_index, self.target]
        else:
            difference = self.targets.scores(self.logits) - self.targets.scores(baselines)
        total = self.maps.reshape(len(self), -1).sum(axis=1)
        return np.abs(total - difference) / np.abs(difference)

    def caption(self, index: int) -> dict[str, Any]:
        """Text for the figure of one image: label of the method, names and probabilities of predicted and target class.

        Returns:
            {"method", "predicted", "predicted_probability", "target", "target_probability", "sigmoid"}. The
            probabilities are None for a model without a head, and "predicted" is then empty, as is "target" if no
            output is explained. That of the target is None, too, where it is not one class, and both are for a single
            text of CLIP. "sigmoid": whether the probabilities are sigmoids, as of a model with one output.

        Example:
            >>> caption = e.caption(0)
            >>> caption["method"], caption["predicted"], caption["target"]
            ('transformer_mm', 'striped star', 'plain ring')
        """
        predicted, target = int(self.predicted[index]), int(self.target[index])
        name = self.targets.names[index]
        of = (
            self.probabilities[index].tolist() if self.model.probability is not None else [None] * self.logits.shape[-1]
        )
        return {
            "method": self.label,
            "predicted": self.model.label(predicted) if self.has_classes else "",
            "predicted_probability": of[predicted],
            "target": self.target_names[index],
            "target_probability": of[target] if name is None else None,
            "sigmoid": self.model.probability == "sigmoid",
        }

    def verdict(self, index: int) -> str:
        """The predicted class as `tabby (62.3 %)`, followed by the target class if the two differ.

        For a model with one output `class 0 (62.3 %, sigmoid)`; without a head `no classes; explained: feature 17`, or
        `no classes` alone if no output is explained.

        Example:
            >>> e.verdict(0)
            'striped star (98... %); explained: plain ring (... %)'
        """
        caption = self.caption(index)
        sigmoid = caption["sigmoid"]
        explained = f"explained: {with_probability(caption['target'], caption['target_probability'], sigmoid=sigmoid)}"
        if not self.has_classes:
            return f"no classes; {explained}" if caption["target"] else "no classes"
        predicted = with_probability(caption["predicted"], caption["predicted_probability"], sigmoid=sigmoid)
        return predicted if self.predicted[index] == self.target[index] else f"{predicted}; {explained}"

    def best(self, index: int, count: int = 5) -> list[tuple[str, float]]:
        """Names and probabilities of the `count` most probable classes of image `index`, most probable first.

        Empty for a model without a head.

        Example:
            >>> [name for name, probability in e.best(0, count=2)]
            ['striped star', 'plain ring']
        """
        if self.model.probability is None:
            return []
        probabilities = self.probabilities[index]
        top = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.model.label(int(number)), float(probabilities[number])) for number in top]
