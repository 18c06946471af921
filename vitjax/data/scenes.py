"""Procedural scenes: an unlimited source of exactly annotated images that needs no download.

A scene is a 64 x 64 image of one to three objects on a cluttered background. A class is a combination of a shape and a
texture. Every shape has two textures, every texture is on at least two shapes, and colours are random, so no single
cue determines the class. Masks are exact, and so are localisation metrics computed from them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vitjax.data.scene_paint import COLUMNS, ROWS, SHAPES, SIZE, background, object_colours, texture

KINDS = (
    ("striped", "disc"),
    ("dotted", "disc"),
    ("striped", "ring"),
    ("plain", "ring"),
    ("striped", "star"),
    ("checked", "star"),
    ("dotted", "triangle"),
    ("plain", "triangle"),
    ("checked", "square"),
    ("plain", "square"),
)
CLASSES: tuple[str, ...] = tuple(f"{texture_name} {shape}" for texture_name, shape in KINDS)

MARGIN = 1.7  # minimum ratio of visible pixels of the largest object to those of the second
SMALLEST = 150  # minimum number of visible pixels of every object

# Each split has its own seed and random stream. Seed 0, the default everywhere, is never used for training, so the
# bundled model has not seen the scenes that users get.
TEST_SEED, TRAIN_SEED, VALIDATION_SEED = 0, 1, 2


@dataclass(frozen=True)
class Scene:
    """An annotated image. Objects are ordered by visible area, largest first.

    image: uint8 [64, 64, 3]. masks: bool [n, 64, 64], the visible pixels of each object, disjoint.
    labels: int64 [n], distinct indices into CLASSES; labels[0] is the label of the scene.
    index: number of the scene in its series.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    index: int


def scene(index: int, *, seed: int = 0, objects: int | None = None) -> Scene:
    """Paint scene number `index` of the series `seed`: a pure function of (seed, index, objects).

    Args:
        index, seed: integers in [0, 2**64).
        objects: number of objects, 1 to 3; None draws it at random.

    Returns:
        A `Scene` whose largest object has at least MARGIN times the visible pixels of the second, and in which every
        object has at least SMALLEST visible pixels.

    Raises:
        ValueError: index or seed is outside [0, 2**64), or objects outside 1..3.

    Cost: about a millisecond on one core.
    """
    if not (0 <= index < 2**64 and 0 <= seed < 2**64):
        raise ValueError(f"index and seed must be in [0, 2**64), got index={index}, seed={seed}")
    if objects not in (None, 1, 2, 3):
        raise ValueError(f"objects must be None, 1, 2 or 3, got {objects!r}")
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    draw = rng.random()
    count = objects or 1 + int(draw >= 0.3) + int(draw >= 0.7)
    labels = np.argsort(rng.random(len(KINDS)))[:count]
    while True:  # rejection sampling: nearly every first layout is accepted
        placements = _layout(rng, labels)
        if placements is None:
            continue
        coverages, masks = _outlines(placements)
        areas = masks.sum((1, 2))
        order = np.argsort(-areas, kind="stable")
        sizes = areas[order]
        if sizes[-1] >= SMALLEST and (count == 1 or sizes[0] >= MARGIN * sizes[1]):
            break
    dark, shade = rng.random(2)
    lightness = (0.22 if dark < 0.5 else 0.70) + 0.08 * shade
    image = background(rng, lightness)
    for placement, coverage in zip(placements, coverages, strict=True):
        first, second = object_colours(rng.random(5), lightness)
        x, y = placement.coordinates()
        weight = texture(KINDS[placement.label][0], x, y, placement.period)[..., None]
        window = image[placement.window]
        window += coverage[..., None] * (first + (second - first) * weight - window)
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    painted = np.array([placement.label for placement in placements])
    return Scene(pixels, masks[order], painted[order], index)


@dataclass(frozen=True)
class Scenes:
    """The scenes start, start + 1, ..., start + n - 1 of one series, as a sequence that paints a scene at each access.

    `scenes[i]` is `scene(start + i, ...)`; a negative i counts from the end.

    Args:
        n: number of scenes.
        seed, objects: as in `scene`.
        start: index of the first scene, to split a series into parts.

    Raises:
        IndexError: an index is outside -n..n-1.
    """

    n: int
    seed: int = 0
    objects: int | None = None
    start: int = 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Scene:
        if not -self.n <= i < self.n:
            raise IndexError(f"index {i} is outside the {self.n} scenes")
        return scene(self.start + i % self.n, seed=self.seed, objects=self.objects)

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(self.n))


@dataclass(frozen=True)
class _Placement:
    """Label, centre and circumradius [pixels], angles of outline and texture [rad], period of the texture [pixels]."""

    label: int
    row: float
    column: float
    radius: float
    angle: float
    grain_angle: float
    period: float

    @property
    def window(self) -> tuple[slice, slice]:
        """The part of the image that contains the object."""
        reach = self.radius + 1
        top, bottom = max(0, int(self.row - reach)), min(SIZE, int(self.row + reach) + 2)
        left, right = max(0, int(self.column - reach)), min(SIZE, int(self.column + reach) + 2)
        return slice(top, bottom), slice(left, right)

    def coordinates(self, rotation: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of the window's pixels relative to the centre, rotated by `rotation` [rad], or by `grain_angle`."""
        rotation = self.grain_angle if rotation is None else rotation
        x, y = COLUMNS[self.window] - self.column, ROWS[self.window] - self.row
        cosine, sine = math.cos(rotation), math.sin(rotation)
        return cosine * x + sine * y, cosine * y - sine * x


def _layout(rng: np.random.Generator, labels: np.ndarray) -> list[_Placement] | None:
    """Random placements of the objects in painting order, or None if the drawn sizes and positions do not fit."""
    u = rng.random((len(labels), 5))
    largest = 560 + (390 if len(labels) < 3 else 240) * u[0, 0]
    placements: list[_Placement] = []
    for rank, label in enumerate(labels):
        area = largest if rank == 0 else max(220.0, largest / (2.0 + 1.2 * u[rank, 0]))
        shape = SHAPES[KINDS[label][1]]
        radius = math.sqrt(area / shape.area)
        # Only the tips of an object may extend beyond the border.
        low, high = 0.85 * radius, SIZE - 1 - 0.85 * radius
        for row, column in low + (high - low) * rng.random((16, 2)):
            if all(
                math.hypot(row - other.row, column - other.column) >= 0.78 * (radius + other.radius)
                for other in placements
            ):
                break
        else:
            return None
        angle, grain_angle = 2 * math.pi * u[rank, 1:3]
        placements.append(_Placement(int(label), row, column, radius, angle, grain_angle, 6.0 + 1.5 * u[rank, 3]))
    # The painting order is random, so the largest object may be behind or in front of the others.
    return [placements[i] for i in np.argsort(u[:, 4])]


def _outlines(placements: list[_Placement]) -> tuple[list[np.ndarray], np.ndarray]:
    """Coverage of each object in its window, and visible masks [n, 64, 64]: later objects hide earlier ones."""
    coverages = []
    masks = np.zeros((len(placements), SIZE, SIZE), bool)
    for i, placement in enumerate(placements):
        shape = SHAPES[KINDS[placement.label][1]]
        coverage = shape.coverage(*placement.coordinates(placement.angle), placement.radius)
        is_object = coverage >= 0.5
        masks[(slice(0, i), *placement.window)] &= ~is_object
        masks[(i, *placement.window)] = is_object
        coverages.append(coverage)
    return coverages, masks
