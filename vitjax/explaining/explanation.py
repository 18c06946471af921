"""What `explain` returns: raw maps, and the pictures made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitjax import maps as map_functions
from vitjax.explaining.inputs import Images
from vitjax.models.model import Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image as Picture


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of one method over a batch of images."""

    maps: np.ndarray
    """Raw relevance, not normalised: [b, h, w] on the patch grid (level "token") or [b, H, W] (level "pixel")."""
    target: np.ndarray
    """Explained class of each image, int32 [b]."""
    logits: np.ndarray
    """[b, k]"""
    method: str
    label: str
    options: dict[str, Any]
    level: str
    images: Images
    model: Model

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class of each image, int [b]."""
        return self.logits.argmax(axis=-1)

    @property
    def probabilities(self) -> np.ndarray:
        """softmax of the logits, [b, k]."""
        return _softmax(self.logits)

    @property
    def degenerate(self) -> np.ndarray:
        """bool [b]: the map is constant (all zero, say) or not finite, and so says nothing about the image."""
        return np.asarray(map_functions.are_degenerate(self.maps))

    @property
    def signed(self) -> bool:
        """Whether some relevance counts against the class; pictures then show zero as neutral."""
        return bool((self.maps < 0).any())

    def pixels(self) -> np.ndarray:
        """[b, H, W]: upsampled bilinearly and min-max normalised to [0, 1] per image."""
        size = self.images.pixels.shape[1:3]
        return np.asarray(map_functions.all_to_pixels(self.maps, tuple(size)))

    def completeness_gap(self) -> np.ndarray:
        """|Σ map - (s(x) - s(0))| / |s(x) - s(0)| of each image, float [b], x = 0 the mean colour.

        0 is what methods marked complete promise (integrated gradients, up to their quadrature); meaningless for
        others. Cost: one forward.
        """
        baseline = np.asarray(self.model.logits(np.zeros_like(self.images.x[:1])), self.logits.dtype)
        rows = np.arange(len(self))
        if self.options.get("score") == "probability":
            difference = self.probabilities[rows, self.target] - _softmax(baseline)[0, self.target]
        else:
            difference = self.logits[rows, self.target] - baseline[0, self.target]
        total = self.maps.reshape(len(self), -1).sum(axis=1)
        return np.abs(total - difference) / np.abs(difference)

    def overlay(self, index: int = 0) -> Picture:
        """The map of image `index` over its photo, a PIL image at model resolution."""
        from vitjax import plots

        size = self.images.pixels.shape[1:3]
        signed = self.signed and not self.degenerate[index]
        heat = map_functions.to_display(self.maps[index], size, signed=signed)
        return plots.overlay(self.images.pixels[index], np.asarray(heat), signed=self.signed)

    def caption(self, index: int) -> dict[str, Any]:
        """Names and probabilities for picture titles: predicted and explained class."""
        predicted, target = int(self.predicted[index]), int(self.target[index])
        p = self.probabilities[index]
        return {
            "method": self.label,
            "predicted": self.model.label(predicted),
            "predicted_probability": float(p[predicted]),
            "target": self.model.label(target),
            "target_probability": float(p[target]),
        }

    def verdict(self, index: int) -> str:
        """`tabby (62.3 %)`, the predicted class, and the explained one where it is another."""
        words = self.caption(index)
        said = f"{words['predicted']} ({100 * words['predicted_probability']:.1f} %)"
        if self.predicted[index] == self.target[index]:
            return said
        return f"{said}; explained: {words['target']} ({100 * words['target_probability']:.1f} %)"

    def best(self, index: int, count: int = 5) -> list[tuple[str, float]]:
        """Names and probabilities of the most probable classes, best first; all where there are fewer."""
        p = self.probabilities[index]
        return [(self.model.label(int(number)), float(p[number])) for number in np.argsort(-p, kind="stable")[:count]]

    def save_arrays(self, directory: str | Path) -> Path:
        """Write `<label>.npz`: raw maps, target, logits and image ids."""
        path = Path(directory) / f"{file_stem(self.label)}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, maps=self.maps, target=self.target, logits=self.logits, ids=np.asarray(self.images.ids)
        )
        return path

    def save(
        self, directory: str | Path, *, pdf: bool = False, progress: Callable[[int], None] | None = None
    ) -> list[Path]:
        """Write the arrays and one strip (photo | map | overlay) per image, `<image id>_<label>.png`.

        Args:
            pdf: also write each strip as a vector PDF.
            progress: called with 1 after each picture.

        Returns the files written.
        """
        from vitjax import plots

        written = [self.save_arrays(directory)]
        stem = file_stem(self.label)
        for i, name in enumerate(self.images.ids):
            figure = plots.strip(self.images.pixels[i], self.maps[i], signed=self.signed, **self.caption(i))
            written += plots.save(figure, Path(directory) / f"{name}_{stem}.png", pdf=pdf)
            if progress is not None:
                progress(1)
        return written


def comparison(explanations: Mapping[str, Explanation]) -> Figure:
    """Grid of images x methods as a figure; all explanations are of the same images.

    Those of another model than the first's are drawn over the photos as that model saw them, with its prediction.
    """
    from vitjax import plots

    first = next(iter(explanations.values()))
    captions = [first.caption(i) for i in range(len(first))]
    others = {label: each for label, each in explanations.items() if each.model.name != first.model.name}
    return plots.comparison_grid(
        list(first.images.pixels),
        {label: list(each.maps) for label, each in explanations.items()},
        signed={label for label, each in explanations.items() if each.signed},
        row_labels=[
            f"{each['target']} ({100 * each['target_probability']:.0f}\N{NO-BREAK SPACE}%)" for each in captions
        ],
        own_photos={label: list(each.images.pixels) for label, each in others.items()},
        notes={label: [each.verdict(i) for i in range(len(each))] for label, each in others.items()},
    )


def file_stem(label: str) -> str:
    """A method label as a file name: "rollout(head_fusion=max)" -> "rollout_head_fusion-max"."""
    return label.replace(", ", "_").translate(str.maketrans("( =/", "__--", ")"))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
