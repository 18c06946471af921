"""The blurred image that insertion starts from."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np

from vitjax.shapes import Image

KERNEL, SIGMA = 11, 5.0
Padding = Literal["zeros", "reflect"]


def blurred(image: Image, padding: Padding = "zeros") -> Image:
    """The image under an 11 x 11 Gaussian with sigma 5.

    Args:
        image: [H, W, 3] normalised.
        padding: what lies beyond the border: "zeros", the mean colour, as RISE's code has it (a convolution padded
            with zeros, in normalised space), or the image's "reflect"ion, which leaves no coloured rim.

    Returns [H, W, 3].

    Source: Petsiuk et al. 2018. Differs from reference: nothing.

    Example: `blurred(model.preprocess("cat.jpg")[0])`
    """
    reach = KERNEL // 2
    weights = _kernel().tolist()
    for axis in (0, 1):
        width = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        padded = jnp.pad(image, width, mode="constant" if padding == "zeros" else "reflect")
        # Shifted additions, not a convolution: that may be TF32 on GPUs.
        size = image.shape[axis]
        shifts = [jnp.take(padded, np.arange(size) + shift, axis) for shift in range(KERNEL)]
        image = sum(weight * shifted for weight, shifted in zip(weights, shifts, strict=True))
    return image


def _kernel() -> np.ndarray:
    """[11], sums to 1: a point blurred by a sampled Gaussian whose tails beyond the 11 pixels are folded back in."""
    reach = int(4 * SIGMA + 0.5)
    gaussian = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    point = np.zeros(KERNEL)
    point[KERNEL // 2] = 1
    return np.convolve(np.pad(point, reach, mode="symmetric"), gaussian / gaussian.sum(), mode="valid")
