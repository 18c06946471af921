"""Painting primitives of the procedural scenes: shapes, textures, colours and backgrounds.

Everything is plain NumPy on small windows. All random numbers are uniform draws from the generator that the caller
passes, so a scene depends only on the generator's key.
"""

import colorsys
import math
from typing import NamedTuple

import numpy as np

SIZE = 64
ROWS, COLUMNS = (axis.astype(np.float32) for axis in np.mgrid[:SIZE, :SIZE])


class Shape(NamedTuple):
    """An outline of unit circumradius: a ring or disc if points == 0, otherwise a star polygon.

    `inner` is the radius of a ring's hole, or the distance of a star polygon's inner vertices from the centre. A
    regular polygon is the star polygon whose inner vertices are the midpoints of its sides, inner = cos(pi / points).
    """

    points: int
    inner: float

    @property
    def area(self) -> float:
        """Area for a circumradius of 1."""
        if self.points == 0:
            return math.pi * (1 - self.inner**2)
        return self.points * self.inner * math.sin(math.pi / self.points)

    def coverage(self, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
        """Fraction of each pixel inside the outline, in [0, 1]; 0.5 for a pixel centre on the edge.

        Args:
            x, y: coordinates relative to the centre [pixels].
            radius: circumradius [pixels].
        """
        distance = np.sqrt(x * x + y * y)
        if self.points == 0:
            depth = radius - distance
            if self.inner:
                depth = np.minimum(depth, distance - self.inner * radius)
        else:
            # All sectors are folded onto the half sector from an outer vertex to the next inner vertex, where the
            # outline is a single straight edge and its signed distance is one dot product.
            sector = 2 * np.pi / self.points
            angle = np.abs(np.mod(np.arctan2(y, x) + sector / 2, sector) - sector / 2)
            inner_x, inner_y = self.inner * math.cos(sector / 2), self.inner * math.sin(sector / 2)
            length = math.hypot(1 - inner_x, inner_y)
            depth = inner_y * radius - distance * (inner_y * np.cos(angle) + (1 - inner_x) * np.sin(angle))
            depth /= length
        return np.clip(depth + 0.5, 0, 1)


SHAPES = {
    "disc": Shape(0, 0.0),
    "ring": Shape(0, 0.52),
    "triangle": Shape(3, math.cos(math.pi / 3)),
    "square": Shape(4, math.cos(math.pi / 4)),
    "star": Shape(5, 0.48),
}


def _band_distance(t: np.ndarray, period: float) -> np.ndarray:
    """Signed distance to the nearest edge of periodic bands [pixels], positive over half of each period."""
    return np.abs(np.mod(t, period) - period / 2) - period / 4


def texture(name: str, x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Weight of an object's second colour at each pixel, in [0, 1], anti-aliased.

    Args:
        name: "plain", "striped", "checked" or "dotted".
        x, y: coordinates in the frame of the texture [pixels].
        period: period of the texture [pixels].

    Raises:
        ValueError: the name is unknown.
    """
    if name == "plain":
        return np.zeros_like(x)
    if name == "striped":
        edge = _band_distance(x, period)
    elif name == "checked":
        # The product of the two signed distances gives the sign; the smaller magnitude is the nearer edge.
        across, along = _band_distance(x, 1.5 * period), _band_distance(y, 1.5 * period)
        edge = np.minimum(np.abs(across), np.abs(along)) * np.sign(across * along)
    elif name == "dotted":
        dx, dy = np.mod(x, period) - period / 2, np.mod(y, period) - period / 2
        edge = 0.34 * period - np.sqrt(dx * dx + dy * dy)
    else:
        raise ValueError(f"unknown texture {name!r}")
    return np.clip(edge + 0.5, 0, 1)


def colour(hue: float, lightness: float, saturation: float) -> np.ndarray:
    """RGB in [0, 1], float32 [3]; hue wraps around at 1."""
    return np.array(colorsys.hls_to_rgb(hue % 1.0, lightness, saturation), np.float32)


def object_colours(u: np.ndarray, background_lightness: float) -> tuple[np.ndarray, np.ndarray]:
    """The two colours of an object from five uniform draws `u`.

    Both differ from the background in lightness, because a texture would otherwise hide the outline. The hues are
    arbitrary, so that colour carries no information about the class.
    """
    if background_lightness > 0.5:
        first, second = 0.16 + 0.09 * u[0], 0.48 + 0.07 * u[1]
    else:
        first, second = 0.76 + 0.10 * u[0], 0.45 + 0.07 * u[1]
    # Complementary or neighbouring hues look better than two independent ones.
    shift = (0.5 if u[2] < 0.5 else 0.08) + 0.1 * u[3]
    return colour(u[4], first, 0.85), colour(u[4] + shift, second, 0.75)


def _interpolation(knots: int) -> np.ndarray:
    """Matrix [SIZE, knots] of cosine interpolation from `knots` equidistant values to SIZE pixels."""
    position = np.linspace(0, knots - 1, SIZE)
    left = np.minimum(position.astype(int), knots - 2)
    weight = (1 - np.cos(np.pi * (position - left))) / 2
    matrix = np.zeros((SIZE, knots), np.float32)
    matrix[np.arange(SIZE), left] = 1 - weight
    matrix[np.arange(SIZE), left + 1] += weight
    return matrix


_COARSE, _FINE = _interpolation(5), _interpolation(17)


def background(rng: np.random.Generator, lightness: float) -> np.ndarray:
    """A cluttered background of gradient, noise, and lines or speckles: float32 [64, 64, 3], roughly in [0, 1]."""
    u = rng.random(8, dtype=np.float32)
    coarse, fine = rng.random((5, 5), dtype=np.float32), rng.random((17, 17), dtype=np.float32)
    noise = _COARSE @ coarse @ _COARSE.T
    angle = 2 * np.pi * u[0]
    ramp = 0.5 + (math.cos(angle) * (COLUMNS - SIZE / 2) + math.sin(angle) * (ROWS - SIZE / 2)) / (1.5 * SIZE)
    blend = (u[1] * ramp + (1 - u[1]) * noise)[..., None]
    one = colour(u[2], lightness - 0.06, 0.2 + 0.3 * u[3])
    two = colour(u[2] + 0.3 * (u[4] - 0.5), lightness + 0.06, 0.2 + 0.3 * u[3])
    image = one + (two - one) * blend
    # Light and dark grain of the same hue: clutter that resembles the textures.
    shade = (0.05 + 0.10 * u[5]) * (_FINE @ fine @ _FINE.T - 0.5)
    if u[6] < 0.4:
        lines = rng.random((4, 3), dtype=np.float32)
        for rotation, offset, tone in lines[: 2 + int(3 * u[7])]:
            angle = np.pi * rotation
            distance = math.cos(angle) * (COLUMNS - 32) + math.sin(angle) * (ROWS - 32) - 64 * (offset - 0.5)
            shade += (0.10 if tone < 0.5 else -0.10) * np.clip(1.3 - np.abs(distance), 0, 1)
    elif u[6] < 0.8:
        spots = rng.random((24, 4), dtype=np.float32)
        row, column = (spots[:, :2].T * (SIZE - 2)).astype(int)
        tone = np.where(spots[:, 2] < 0.5, 0.12, -0.12).astype(np.float32)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            shade[row + down, column + right] = tone
    image += shade[..., None]
    image += 0.03 * (rng.random((SIZE, SIZE, 1), dtype=np.float32) - 0.5)
    return image
