"""Procedural scenes: an endless, exactly annotated image source that needs no download.

A scene is a 64 x 64 picture of one to three objects before a cluttered background. A class is a shape AND a
texture: every shape comes in two textures and every texture on at least two shapes, colours are random, so
neither cue alone names the class. Masks are exact, which makes localisation metrics exact too.
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

MARGIN = 1.7  # the largest object shows at least this many times the pixels of the second
SMALLEST = 150  # visible pixels of the smallest object

# Seeds are splits: pictures of different seeds share no random stream. Seed 0, the default everywhere, is
# never trained on, so whatever a user looks at is unseen by the bundled model.
TEST_SEED, TRAIN_SEED, VALIDATION_SEED = 0, 1, 2


@dataclass(frozen=True)
class Scene:
    """One annotated picture, objects ordered by visible area, largest first.

    image: uint8 [64, 64, 3]. masks: bool [n, 64, 64], the visible pixels of each object, disjoint.
    labels: int64 [n], indices into CLASSES, all different; labels[0] is the label of the scene.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    index: int


def scene(index: int, *, seed: int = 0, objects: int | None = None) -> Scene:
    """Paint scene number `index` of the endless series `seed`: a pure function of (seed, index, objects).

    Args:
      index, seed: non-negative integers below 2**64.
      objects: number of objects, 1 to 3; None draws it.
    Returns: a `Scene`; the largest object has at least MARGIN times the visible pixels of the second, and
      every object at least SMALLEST visible pixels.
    Raises: ValueError for a negative index or seed, or a number of objects outside 1..3.
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
    while True:  # nearly every first layout passes; a crowded one is drawn again
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
    """The scenes start, start + 1, ..., start + n - 1 of one seed as a sequence; nothing is stored.

    Args: n: how many. seed, objects: as in `scene`. start: index of the first, to cut one series into parts.
    `scenes[i]` is `scene(start + i, ...)`, with negative i counting from the end; IndexError outside.
    """

    n: int
    seed: int = 0
    objects: int | None = None
    start: int = 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Scene:
        if not -self.n <= i < self.n:
            raise IndexError(f"scene {i} of {self.n}")
        return scene(self.start + i % self.n, seed=self.seed, objects=self.objects)

    def __iter__(self) -> Iterator[Scene]:
        return (self[i] for i in range(self.n))


@dataclass(frozen=True)
class _Placement:
    label: int
    row: float
    column: float
    radius: float
    angle: float
    grain_angle: float
    period: float

    @property
    def window(self) -> tuple[slice, slice]:
        reach = self.radius + 1
        top, bottom = max(0, int(self.row - reach)), min(SIZE, int(self.row + reach) + 2)
        left, right = max(0, int(self.column - reach)), min(SIZE, int(self.column + reach) + 2)
        return slice(top, bottom), slice(left, right)

    def coordinates(self, turn: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (x, y) of the window about the centre, in the frame of the texture or turned by `turn`."""
        turn = self.grain_angle if turn is None else turn
        x, y = COLUMNS[self.window] - self.column, ROWS[self.window] - self.row
        cosine, sine = math.cos(turn), math.sin(turn)
        return cosine * x + sine * y, cosine * y - sine * x


def _layout(rng: np.random.Generator, labels: np.ndarray) -> list[_Placement] | None:
    """Sizes and places of the objects in painting order, or None if they do not fit this time."""
    u = rng.random((len(labels), 5))
    largest = 560 + (390 if len(labels) < 3 else 240) * u[0, 0]
    placements: list[_Placement] = []
    for rank, label in enumerate(labels):
        area = largest if rank == 0 else max(220.0, largest / (2.0 + 1.2 * u[rank, 0]))
        shape = SHAPES[KINDS[label][1]]
        radius = math.sqrt(area / shape.area)
        # Tips of an object may touch the border, more than that must not be cut off.
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
    # Painting order is drawn too: the largest may lie behind or before the others.
    return [placements[i] for i in np.argsort(u[:, 4])]


def _outlines(placements: list[_Placement]) -> tuple[list[np.ndarray], np.ndarray]:
    """Coverage of each object in its window, and visible masks [n, 64, 64]: later objects hide earlier."""
    coverages = []
    masks = np.zeros((len(placements), SIZE, SIZE), bool)
    for i, placement in enumerate(placements):
        shape = SHAPES[KINDS[placement.label][1]]
        coverage = shape.coverage(*placement.coordinates(placement.angle), placement.radius)
        inside = coverage >= 0.5
        masks[(slice(0, i), *placement.window)] &= ~inside
        masks[(i, *placement.window)] = inside
        coverages.append(coverage)
    return coverages, masks
