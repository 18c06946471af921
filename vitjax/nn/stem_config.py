"""Convolutional stems, as data: the layers that a hybrid ViT computes before its patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from vitjax.errors import ConfigError

Kind = Literal["bit", "resnetd", "convs"]
"""Which layers a stem has; every convolution but the last of a block is followed by its activation.

"bit" (Kolesnikov et al. 2020, Big Transfer; Dosovitskiy et al. 2021, the hybrids): a 7x7 convolution with stride 2 and
a 3x3 max pooling with stride 2, then stages of bottleneck blocks; GroupNorm after every convolution, ReLU, paddings as
in TensorFlow ("SAME"). The standardisation of its weights is part of the parameters.
"resnetd" (He et al. 2019, Bag of Tricks): three 3x3 convolutions, of which the first has stride 2, in place of the 7x7
convolution, and 2x2 average pooling before the convolution of a skip connection that halves the resolution; ReLU,
paddings as in PyTorch. BatchNorm, with its running statistics, is part of the convolutions.
"convs" (Vasu et al. 2024, MobileCLIP): convolutions whose stride is their side, BatchNorm as above, GELU.
"""
EXPANSION = 4
"""Output channels of a bottleneck block divided by its inner channels."""


@dataclass(frozen=True)
class Stem:
    """A convolutional stem; hashable.

    kind: see `Kind`.
    channels: output channels of the convolutions before the stages: one of "bit", three of "resnetd", any number of
        "convs". The inner channels of the first stage are the last of these; they double from stage to stage.
    depths: number of bottleneck blocks of each stage; () for a stem without stages.
    sides: of "convs", side and stride of each convolution; else ().
    groups: number of groups of the GroupNorms of "bit".

    Raises:
        ConfigError: a value is invalid.

    Example:
        >>> stem = Stem("bit", (64,), depths=(3, 4, 9))  # three stages of a ResNet-50
        >>> stem.stride, stem.features
        (16, 1024)
    """

    kind: Kind
    channels: tuple[int, ...]
    depths: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    groups: int = 32

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"stem kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        for name in ("channels", "depths", "sides"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(_is_count(number) for number in value):
                raise ConfigError(f"stem {name} must be integers of at least 1, not {value!r}")
        if not _is_count(self.groups):
            raise ConfigError(f"stem groups must be an integer of at least 1, not {self.groups!r}")
        convolutions = {"bit": 1, "resnetd": 3, "convs": max(len(self.sides), 1)}[self.kind]
        if len(self.channels) != convolutions:
            raise ConfigError(f"a stem of kind {self.kind!r} needs {convolutions} channels, not {self.channels!r}")
        if self.kind == "convs" and self.depths:
            raise ConfigError("a stem of kind 'convs' has no stages: depths must be ()")
        if self.kind != "convs" and self.sides:
            raise ConfigError(f"a stem of kind {self.kind!r} has fixed convolutions: sides must be ()")
        if self.kind == "bit" and self.channels[0] % self.groups:
            raise ConfigError(f"stem channels {self.channels[0]} are not a multiple of its groups {self.groups}")

    @classmethod
    def from_fields(cls, stored: Mapping[str, Any] | Stem | None) -> Stem | None:
        """The stem whose `dataclasses.asdict` was stored as JSON; None for None.

        Raises:
            ConfigError: the fields are not those of a Stem.
        """
        if stored is None or isinstance(stored, Stem):
            return stored
        if not isinstance(stored, Mapping) or not stored.keys() <= {field.name for field in fields(cls)}:
            raise ConfigError(f"stem must have the fields of a Stem, not {stored!r}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"stem must have the fields of a Stem, not {stored!r}") from error

    @property
    def stride(self) -> int:
        """Pixels of the image for each position of the stem's output, along each axis."""
        return math.prod(self.sides) if self.kind == "convs" else 4 << max(len(self.depths) - 1, 0)

    @property
    def features(self) -> int:
        """Channels of the stem's output."""
        return EXPANSION * self.channels[-1] << (len(self.depths) - 1) if self.depths else self.channels[-1]

    def without_sizes(self) -> Stem:
        """The stem of this kind at one common size."""
        channels, sides = (1,) * len(self.channels), (1,) * len(self.sides)
        return replace(self, channels=channels, sides=sides, depths=(1,) * bool(self.depths), groups=1)


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)
