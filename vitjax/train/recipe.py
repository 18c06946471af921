"""The recipe of a training run, and the optimiser and the augmentation that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from vitjax.shapes import Params


@dataclass(frozen=True)
class TrainConfig:
    """The recipe of a run: everything except the architecture and the data.

    steps: number of training steps.
    batch_size: images in a step.
    learning_rate: peak value of the schedule: linear warm-up, then a cosine decay to 1 % of it.
    warmup_steps: at most half of the steps.
    weight_decay: of kernels only.
    beta2: of AdamW.
    clip_norm: largest norm of the gradient of all parameters.
    presence_weight: weight of the sigmoid loss, which needs `Batch.present`.
    flip: mirror images left-right with probability 0.5.
    shift: largest shift in pixels, in each direction.
    jitter: bound of the random gain - 1 and offset of each colour channel, in preprocessed units.
    checkpoint_every: steps between checkpoints.
    seed: of initial parameters and augmentation.

    Example:
        >>> from vitjax.train import TrainConfig
        >>> TrainConfig(steps=1000, learning_rate=1e-4).batch_size
        64
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    weight_decay: float = 0.05
    beta2: float = 0.98
    clip_norm: float = 1.0
    presence_weight: float = 3.0
    flip: bool = True
    shift: int = 2
    jitter: float = 0.1
    checkpoint_every: int = 250
    seed: int = 0


def make_optimizer(cfg: TrainConfig) -> optax.GradientTransformation:
    """Gradient clipping and AdamW with weight decay of kernels only; linear warm-up and cosine decay to 1 % of the
    peak learning rate."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, cfg.learning_rate, min(cfg.warmup_steps, cfg.steps // 2), cfg.steps, 0.01 * cfg.learning_rate
    )

    def kernels(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    return optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(schedule, b2=cfg.beta2, weight_decay=cfg.weight_decay, mask=kernels),
    )


def augment(images: jax.Array, key: jax.Array, cfg: TrainConfig) -> jax.Array:
    """Mirror, shift (repeating edge pixels) and colour-jitter each image of [b, H, W, 3] independently."""

    def one(image: jax.Array, key: jax.Array) -> jax.Array:
        mirror, shift, gain, offset = jax.random.split(key, 4)
        if cfg.flip:
            image = jnp.where(jax.random.bernoulli(mirror), image[:, ::-1], image)
        if cfg.shift:
            padded = jnp.pad(image, ((cfg.shift,) * 2, (cfg.shift,) * 2, (0, 0)), mode="edge")
            row, column = jax.random.randint(shift, (2,), 0, 2 * cfg.shift + 1)
            image = jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
        if cfg.jitter:
            gains, offsets = (
                jax.random.uniform(k, (3,), minval=-cfg.jitter, maxval=cfg.jitter) for k in (gain, offset)
            )
            image = image * (1 + gains) + offsets
        return image

    return jax.vmap(one)(images, jax.random.split(key, len(images)))
