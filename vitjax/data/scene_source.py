"""`scenes:N`: the procedural scenes as a data set with exact masks, painted when they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitjax.data.checks import Classes, digest_of
from vitjax.data.scenes import TEST_SEED, Scenes
from vitjax.data.source import Raw
from vitjax.errors import ConfigError


@dataclass(frozen=True)
class SceneSource:
    """A `Source` of the first n scenes of the test series. Label and mask are those of the largest object."""

    name: str
    scenes: Scenes
    labels: tuple[int, ...]

    has_masks = True
    resize = "timm"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"scene{index:06d}" for index in range(len(self.scenes)))

    def read(self, index: int) -> Raw:
        scene = self.scenes[index]
        return Raw(scene.image, np.where(scene.masks[0], 255, 0).astype(np.uint8))

    def digest(self) -> str:
        first = self.scenes[0]  # the pixels change if the code that paints scenes does
        return digest_of(self.name, self.labels, first.image.tobytes().hex())


def open_scenes(rest: str, classes: Classes) -> SceneSource:
    """Open N scenes.

    Args:
        rest: `N`, or `N:objects=K` for K objects (1 to 3) in each scene instead of a random number.
        classes: the model's classes.

    Raises:
        ConfigError: `rest` has another form.
        LabelError: the model has fewer classes than the scenes.

    Cost: every scene is painted once for its label, about a millisecond each.
    """
    count, _, option = rest.partition(":")
    key, _, objects = option.partition("=")
    if not re.fullmatch(r"[0-9]{1,9}", count) or int(count) < 1:
        raise ConfigError(f"scenes:{rest}: {count!r} is not a positive integer")
    if option and (key != "objects" or objects not in ("1", "2", "3")):
        raise ConfigError(f"scenes:{rest}: {option!r} is not one of objects=1, objects=2, objects=3")
    scenes = Scenes(int(count), seed=TEST_SEED, objects=int(objects) if objects else None)
    name = f"scenes:{rest}"
    labels = tuple(classes.number(int(scene.labels[0]), f"{name}: scene {scene.index}") for scene in scenes)
    return SceneSource(name, scenes, labels)
