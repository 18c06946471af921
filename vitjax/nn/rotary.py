"""Rotary position embeddings: queries and keys of patches are rotated by angles that depend on the patch's position.

A rotation is a linear map with constant coefficients, so that attention depends on relative positions only. Prefix
tokens are not rotated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from vitjax.errors import ConfigError

Kind = Literal["axial", "centred", "mixed"]
"""How angles follow from the coordinates (y, x) of a patch; d is the width of a head.

"axial" (Fang et al. 2023, EVA-02; Heo et al. 2024): angle = coordinate · temperature^(-4i/d), a quarter of the
channels for each axis. "centred" (Siméoni et al. 2025, DINOv3): the same with coordinates scaled to [-1, 1] and
angle = 2π · coordinate / temperature^(4i/d). "mixed" (Heo et al. 2024): angle = y · f_y + x · f_x with frequencies that
are parameters of each block and head.
"""


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding; hashable.

    kind: see `Kind`.
    temperature: ratio of the longest to the shortest period, of all kinds but "mixed".
    half: the pairs of channels that are rotated are (i, i + d/2); False pairs (2i, 2i + 1).
    offset: added to coordinates before they are scaled.
    reference: grid (height, width) of pretraining, to which coordinates are scaled; None for the model's own grid.
    x_first: whether x, not y, takes the first quarter of the angles.

    Raises:
        ConfigError: a value is invalid.

    Example:
        >>> from vitjax.nn.rotary import Rotary
        >>> Rotary("axial", reference=(16, 16)).angles((2, 2), 8)[3]  # patch (1, 1), which lies at (8, 8) of 16 x 16
        array([8.  , 0.08, 8.  , 0.08])
    """

    kind: Kind
    temperature: float = 10000.0
    half: bool = False
    offset: float = 0.0
    reference: tuple[int, int] | None = None
    x_first: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"rotary kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        for name in ("temperature", "offset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
                raise ConfigError(f"rotary {name} must be a finite number, not {value!r}")
        if self.temperature <= 0:
            raise ConfigError(f"rotary temperature must be positive, not {self.temperature!r}")
        for name in ("half", "x_first"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"rotary {name} must be true or false, not {getattr(self, name)!r}")
        if self.kind == "mixed" and self.half:
            raise ConfigError("rotary kind 'mixed' needs half=False")

    @classmethod
    def from_fields(cls, stored: Mapping[str, Any] | Rotary | None) -> Rotary | None:
        """The embedding whose `dataclasses.asdict` was stored as JSON; None for None.

        Raises:
            ConfigError: the fields are not those of a Rotary.
        """
        if stored is None or isinstance(stored, Rotary):
            return stored
        if not isinstance(stored, Mapping) or not stored.keys() <= {field.name for field in fields(cls)}:
            raise ConfigError(f"rotary must have the fields of a Rotary, not {stored!r}")
        values = dict(stored)
        try:
            if values.get("reference") is not None:
                height, width = values["reference"]
                values["reference"] = (int(height), int(width))
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"rotary must have the fields of a Rotary, not {stored!r}") from error

    def coordinates(self, grid: tuple[int, int]) -> np.ndarray:
        """Coordinates (y, x), or (x, y) with `x_first`, of the patches of a grid in row-major order, float64 [p, 2]."""
        axes = []
        for axis, side in enumerate(grid):
            if self.kind == "centred":
                axes.append(2 * (np.arange(0.5, side) + self.offset) / side - 1)
                continue
            axes.append(np.arange(side, dtype=np.float64) + self.offset)
            if self.reference is not None:
                axes[axis] = axes[axis] / side * self.reference[axis]
        pairs = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return pairs[:, ::-1] if self.x_first else pairs

    def angles(self, grid: tuple[int, int], width: int) -> np.ndarray:
        """Angles of the patches of a grid [p, width / 2] in radians, of all kinds but "mixed".

        Args:
            grid: number of patches along (height, width).
            width: width d of a head, a multiple of 4.
        """
        periods = self.temperature ** (np.arange(width // 4) / (width // 4))
        scale = 2 * np.pi if self.kind == "centred" else 1.0
        return (scale * self.coordinates(grid)[:, :, None] / periods).reshape(-1, width // 2)


def stored_fields(rotary: Rotary | None) -> dict[str, Any] | None:
    """The fields as JSON takes them; the inverse of `Rotary.from_fields`."""
    return None if rotary is None else asdict(rotary)
