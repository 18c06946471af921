"""Gaussian blur: the image that insertion starts from."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np

from vitjax.shapes import Image

KERNEL, SIGMA = 11, 5.0
Padding = Literal["zeros", "reflect"]


def blurred(image: Image, padding: Padding = "zeros") -> Image:
    """The image convolved with an 11 x 11 Gaussian kernel, sigma 5 pixels.

    Args:
        image: [H, W, 3] normalised.
        padding: values beyond the border. "zeros": 0 in normalised space, which is the mean colour, as in RISE's code.
            "reflect": the image mirrored at its border, which leaves no coloured rim.

    Returns:
        [H, W, 3].

    Source: Petsiuk et al. 2018. Differs from reference: nothing.

    Example:
        >>> dot = jnp.zeros((32, 32, 3)).at[16, 16].set(1.0)
        >>> blurred = vitjax.metrics.blur.blurred(dot)
        >>> bool(blurred.max() < 0.1), blurred.sum(axis=(0, 1)).round(3).tolist()
        (True, [1.0, 1.0, 1.0])
    """
    reach = KERNEL // 2
    weights = _kernel().tolist()
    for axis in (0, 1):
        width = [(reach, reach) if dimension == axis else (0, 0) for dimension in range(3)]
        padded = jnp.pad(image, width, mode="constant" if padding == "zeros" else "reflect")
        # Sums of shifted images, because GPUs may compute a convolution in TF32.
        size = image.shape[axis]
        shifts = [jnp.take(padded, np.arange(size) + shift, axis) for shift in range(KERNEL)]
        image = sum(weight * shifted for weight, shifted in zip(weights, shifts, strict=True))
    return image


def _kernel() -> np.ndarray:
    """[11], sums to 1: a sampled Gaussian whose tails beyond 11 pixels are reflected back into the kernel."""
    reach = int(4 * SIGMA + 0.5)
    gaussian = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    point = np.zeros(KERNEL)
    point[KERNEL // 2] = 1
    return np.convolve(np.pad(point, reach, mode="symmetric"), gaussian / gaussian.sum(), mode="valid")
