"""Check that a user-defined method satisfies the contract of `vitjax.Method`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vitjax import methods
from vitjax.explaining.inputs import prepare
from vitjax.explaining.programs import image_key
from vitjax.explaining.run import explain
from vitjax.images.reading import Preprocessing
from vitjax.methods import Method
from vitjax.methods.own import load_own
from vitjax.models.model import Model
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig

CONFIG = ViTConfig(width=24, depth=3, heads=3, mlp_dim=40, patch_size=8, image_size=(24, 32), num_classes=5)
NAME = "checked_method"
"""Name under which the method is registered during the checks."""


def check_method(reference: str | Method) -> list[tuple[str, bool, str]]:
    """Run a method on a tiny random ViT with non-square images and check its maps.

    Checks, in this order; the others are left out if one of the first two fails:

    - "shape": maps have the shape of the method's level.
    - "finite": maps contain neither NaN nor infinity.
    - "batch of 4 = one at a time", "order of images": maps do not depend on the batch or on the order of its images.
    - "jit = eager": the compiled map equals the map computed without `jax.jit`.
    - "targets": maps depend on the target if and only if `class_specific`.

    Args:
        reference: a Method, or "module:name" of one. The module is searched for in the working directory, too.

    Returns:
        (name of the check, whether it passed, detail) for each check. Maps are equal if their largest difference is
        at most 1e-4 of the largest magnitude.

    Raises:
        ConfigError: the reference is not of the form module:name, the module cannot be imported, or the name is not a
            Method.

    Example: `check_method("vitjax.methods.rollout:METHOD")`
    """
    method = load_own(reference, Method) if isinstance(reference, str) else reference
    model = _tiny_model()
    images = prepare(model, np.random.default_rng(0).normal(size=(4, 24, 32, 3)).astype(np.float32), normalised=True)
    level = method.level_of(method.options)
    expected = CONFIG.grid if level == "token" else CONFIG.image_size
    methods.register(NAME, method)
    try:
        maps = explain(model, images, NAME, target=[0, 1, 2, 3]).maps
        checks = [
            ("shape", maps.shape == (4, *expected), f"{maps.shape[1:]}, expected {expected} at level {level!r}"),
            ("finite", bool(np.isfinite(maps).all()), f"{int((~np.isfinite(maps)).sum())} values are NaN or infinite"),
        ]
        if not all(passed for _, passed, _ in checks):
            return checks
        one_at_a_time = explain(model, images, NAME, target=[0, 1, 2, 3], batch_size=1).maps
        checks.append(_check_equal("batch of 4 = one at a time", one_at_a_time, maps))
        order = [2, 0, 3, 1]
        reordered = explain(model, images.take(order), NAME, target=order).maps
        checks.append(_check_equal("order of images", reordered, maps[order]))
        with jax.disable_jit(), jax.default_matmul_precision("highest"):
            key = image_key(jnp.uint32(0), images.seeds()[0])
            eager = method.one(CONFIG, model.params, images.x[0], jnp.int32(0), key=key, **method.options)
        checks.append(_check_equal("jit = eager", np.asarray(eager), maps[0]))
        per_class = [explain(model, images.take([0]), NAME, target=index).maps for index in range(CONFIG.num_classes)]
        largest_change = float(np.ptp(np.concatenate(per_class), axis=0).max())
        changes = largest_change > 1e-6 * float(np.abs(maps).max())
        checks.append(
            (
                "targets",
                changes == method.class_specific,
                f"maps {'change' if changes else 'do not change'} with the class; "
                f"class_specific={method.class_specific}",
            )
        )
        return checks
    finally:
        del methods.METHODS[NAME]


def _check_equal(name: str, maps: np.ndarray, expected: np.ndarray) -> tuple[str, bool, str]:
    difference = float(np.abs(maps - expected).max() / max(np.abs(expected).max(), 1e-30))
    return name, difference <= 1e-4, f"largest relative difference {difference:.1e}"


def _tiny_model() -> Model:
    blank = jax.ShapeDtypeStruct((*CONFIG.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(ViT(CONFIG).init, jax.random.key(0), blank)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, jnp.float32), shapes)
    return Model(CONFIG, params, Preprocessing(CONFIG.image_size, crop_pct=1.0), name="tiny random model")
