"""`scenes:N`: the procedural scenes as a data set with exact masks; nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitjax.data.checks import Classes, digest_of
from vitjax.data.scenes import TEST_SEED, Scenes
from vitjax.data.source import Raw
from vitjax.errors import ConfigError


@dataclass(frozen=True)
class SceneSource:
    """The first n scenes of the test series; the label and the mask are those of the largest object."""

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
        first = self.scenes[0]  # a change of the painter is another data set
        return digest_of(self.name, self.labels, first.image.tobytes().hex())


def open_scenes(rest: str, classes: Classes) -> SceneSource:
    """`N` or `N:objects=K`: N scenes, of K objects each (1 to 3) instead of a random number.

    Raises: ConfigError for anything else; LabelError where the model has fewer classes.
    Cost: paints every scene once for its label, about a millisecond each.
    """
    count, _, option = rest.partition(":")
    key, _, objects = option.partition("=")
    if not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"scenes:{rest}: {count!r} is not a positive number of scenes")
    if option and (key != "objects" or objects not in ("1", "2", "3")):
        raise ConfigError(f"scenes:{rest}: {option!r} is not objects=1, objects=2 or objects=3")
    scenes = Scenes(int(count), seed=TEST_SEED, objects=int(objects) if objects else None)
    name = f"scenes:{rest}"
    labels = tuple(classes.number(int(scene.labels[0]), f"{name}: scene {scene.index}") for scene in scenes)
    return SceneSource(name, scenes, labels)
