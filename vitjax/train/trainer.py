"""Training on any source of batches: AdamW with warm-up and cosine decay. A resumed run gives the same result."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.files import write_text
from vitjax.shapes import Params
from vitjax.train.recipe import TrainConfig, augment, make_optimizer

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """A batch of training images.

    images: float32 [b, H, W, 3], preprocessed.
    labels: int [b], class indices.
    present: float32 [b, k], 1 for every class that is present in the image, else 0; or None if that is not known.
    """

    images: np.ndarray | jax.Array
    labels: np.ndarray | jax.Array
    present: np.ndarray | jax.Array | None = None


Source = Callable[[int, int], Batch]
"""(step, batch size) -> the batch of that step. Must be a pure function, so that a run can resume at any step."""


class State(NamedTuple):
    """What a training step updates and a checkpoint stores."""

    params: Params
    opt_state: Any
    step: jax.Array


def train(
    config: ViTConfig,
    source: Source,
    train_config: TrainConfig,
    out: str | Path,
    params: Params | None = None,
) -> Params:
    """Train a ViT by softmax cross-entropy on `labels`, plus a sigmoid loss on `present` if the source provides it.

    loss = CE(softmax(z), label) + presence_weight * mean_k BCE(sigmoid(z_k), present_k), with the same logits z.

    Args:
        config: the architecture.
        source: gives the batch of each step, see `Source`.
        train_config: the recipe.
        out: directory of checkpoints and of `log.jsonl`. If it contains checkpoints of the same recipe, training
            resumes from the last one, and the result equals that of an uninterrupted run on the same devices.
        params: initial parameters; None draws them from the seed.

    Returns:
        The final parameters, on the host.

    Raises:
        ConfigError: `out` contains a run of a different recipe, or the batch size is not a multiple of the devices.
        WeightsError: a checkpoint was altered.
        FloatingPointError: the loss is not finite.

    Cost: 1F and 1B of every image; a background thread prepares the batches.
    """
    out = Path(out).absolute()
    devices = jax.device_count()
    if train_config.batch_size % devices:
        raise ConfigError(f"batch size {train_config.batch_size} is not a multiple of the {devices} devices")
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,))
    replicated, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))

    module = ViT(config)
    if params is None:
        params = initial_params(config, train_config.seed)
    optimizer = make_optimizer(train_config)
    state = State(params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32))
    with _Checkpoints(out, config, train_config) as checkpoints:
        # The update donates the state's buffers, which must therefore not alias the caller's arrays.
        state = jax.device_put(checkpoints.restore(state), replicated, may_alias=False)
        update = jax.jit(_make_update(module, optimizer, train_config), donate_argnums=0)
        recent: list[dict[str, jax.Array]] = []
        first = int(state.step)
        for step, batch in _prefetched(source, first, train_config):
            state, metrics = update(state, jax.device_put(batch, split))
            recent.append(metrics)
            # Dispatch is asynchronous: without waiting, batches would pile up in device memory.
            jax.block_until_ready(recent[-2:][0])
            done = step + 1
            if done % train_config.checkpoint_every == 0 or done == train_config.steps:
                means = {k: float(np.mean([m[k] for m in recent])) for k in metrics}
                recent.clear()
                if not np.isfinite(means["loss"]):
                    raise FloatingPointError(f"the loss is {means['loss']} at step {done}: lower the learning rate")
                checkpoints.save(done, state, means)
        return jax.device_get(state.params)


def initial_params(config: ViTConfig, seed: int) -> Params:
    """Initial parameters: flax's random ones, with two-dimensional sinusoids as positions of the patches.

    The sinusoids distinguish rows and columns from the first step on. A small model would spend much of a short
    training on learning this (Beyer et al. 2022, "Better plain ViT baselines").
    """
    blank = jnp.zeros((*config.image_size, 3))
    params = jax.jit(ViT(config).init)(jax.random.key(seed), blank)["params"]
    (down, across), waves = config.grid, config.width // 4
    frequency = 100.0 ** (-jnp.arange(waves) / max(waves - 1, 1))
    rows, columns = jnp.mgrid[:down, :across].reshape(2, -1, 1) * frequency
    sinusoids = jnp.concatenate([f(phase) for phase in (rows, columns) for f in (jnp.sin, jnp.cos)], -1)
    table = params["pos_embed"]
    table = table.at[-down * across :, : 4 * waves].set(0.5 * sinusoids)
    return {**params, "pos_embed": table}


def losses(logits: jax.Array, batch: Batch, presence_weight: float) -> dict[str, jax.Array]:
    """Metrics of a batch: "loss" (total), "accuracy" in [0, 1], and "presence" (the sigmoid loss) if it is known.

    Args:
        logits: [b, k].
        batch: labels and presence.
        presence_weight: weight of the sigmoid loss in the total.
    """
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels).mean()
    metrics = {"loss": cross_entropy, "accuracy": (logits.argmax(-1) == batch.labels).mean()}
    if batch.present is not None:
        metrics["presence"] = optax.sigmoid_binary_cross_entropy(logits, batch.present).mean()
        metrics["loss"] += presence_weight * metrics["presence"]
    return metrics


def _make_update(module: ViT, optimizer: optax.GradientTransformation, cfg: TrainConfig) -> Callable:
    def loss_of(params: Params, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits: Any = jax.vmap(lambda image: module.apply({"params": params}, image))(batch.images)
        metrics = losses(logits, batch, cfg.presence_weight)
        return metrics["loss"], metrics

    def update(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        # The key depends only on the step, so that a resumed run augments like an uninterrupted one.
        key = jax.random.fold_in(jax.random.key(cfg.seed + 1), state.step)
        batch = batch._replace(images=augment(jnp.asarray(batch.images), key, cfg))
        gradients, metrics = jax.grad(loss_of, has_aux=True)(state.params, batch)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return State(optax.apply_updates(state.params, updates), opt_state, state.step + 1), metrics

    return update


def _prefetched(source: Source, first: int, cfg: TrainConfig, ahead: int = 8) -> Iterator[tuple[int, Batch]]:
    """(step, batch) in order, while a background thread prepares up to `ahead` further batches."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        pending: deque[tuple[int, Future]] = deque()
        try:
            for step in range(first, cfg.steps):
                pending.append((step, pool.submit(source, step, cfg.batch_size)))
                if len(pending) > ahead:
                    next_step, future = pending.popleft()
                    yield next_step, future.result()
            while pending:
                next_step, future = pending.popleft()
                yield next_step, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Checkpoints:
    """Orbax checkpoints under `out/checkpoints`, each with a digest, and one line of metrics per checkpoint.

    Orbax restores altered bytes without an error, so the digest of every restored state is checked.
    """

    def __init__(self, out: Path, config: ViTConfig, cfg: TrainConfig):
        recipe = {"model": asdict(config), "training": asdict(cfg)}
        recipe = json.loads(json.dumps(recipe))  # JSON turns tuples into lists, as in the file it is compared with
        out.mkdir(parents=True, exist_ok=True)
        file = out / "recipe.json"
        if file.exists() and json.loads(file.read_text(encoding="utf-8")) != recipe:
            raise ConfigError(
                f"{out}: contains a run of a different recipe (see {file.name}); choose another directory"
            )
        write_text(file, json.dumps(recipe, indent=1))
        self.log_file = out / "log.jsonl"
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(out / "checkpoints", options=options)

    def __enter__(self) -> _Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()

    def restore(self, fresh: State) -> State:
        """The last saved state, or `fresh` if no checkpoint exists. Raises WeightsError for an altered one."""
        step = self.manager.latest_step()
        if step is None:
            return fresh
        saved = self.manager.restore(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardRestore(fresh), digest=ocp.args.JsonRestore()),
        )
        if saved["digest"]["sha256"] != digest(saved["state"]):
            raise WeightsError(f"checkpoint {self.manager.directory / str(step)} was altered: its digest differs")
        log.info("resuming from step %d", step)
        return saved["state"]

    def save(self, step: int, state: State, means: dict[str, float]) -> None:
        """Save the state and append the mean metrics since the last checkpoint to the log."""
        state = jax.device_get(state)
        self.manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), digest=ocp.args.JsonSave({"sha256": digest(state)})
            ),
        )
        with self.log_file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **means}) + "\n")
        log.info("step %d  %s", step, "  ".join(f"{name} {value:.4f}" for name, value in means.items()))


def digest(tree: Any) -> str:
    """SHA-256 of the bytes of all arrays of a tree, in the order of `jax.tree.leaves`."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()
