"""Does a method of a user's own behave as a method must?"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vitjax import methods
from vitjax.errors import ConfigError
from vitjax.explaining.inputs import prepare
from vitjax.explaining.programs import image_key
from vitjax.explaining.run import explain
from vitjax.images.reading import Preprocessing
from vitjax.methods import Method
from vitjax.models.model import Model
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig

CONFIG = ViTConfig(width=24, depth=3, heads=3, mlp_dim=40, patch_size=8, image_size=(24, 32), num_classes=5)
NAME = "checked_method"


def check_method(reference: str | Method) -> list[tuple[str, bool, str]]:
    """Run a method on a tiny random model with a non-square image.

    Args:
        reference: a Method, or "module:name" of one; the module is looked for in the working directory, too.

    Returns rows (check, passed, detail). Raises ConfigError where the reference leads to no Method.
    """
    method = _find(reference) if isinstance(reference, str) else reference
    model = _tiny_model()
    images = prepare(model, np.random.default_rng(0).normal(size=(4, 24, 32, 3)).astype(np.float32))
    level = method.level_of(method.options)
    expected = CONFIG.grid if level == "token" else CONFIG.image_size
    methods.register(NAME, method)
    try:
        maps = explain(model, images, NAME, target=[0, 1, 2, 3]).maps
        rows = [
            ("shape", maps.shape == (4, *expected), f"{maps.shape[1:]}, expected {expected} at level {level!r}"),
            ("finite", bool(np.isfinite(maps).all()), f"{int((~np.isfinite(maps)).sum())} values are not"),
        ]
        if not all(passed for _, passed, _ in rows):
            return rows
        by_one = explain(model, images, NAME, target=[0, 1, 2, 3], batch_size=1).maps
        rows.append(_same("batch of 4 = one at a time", by_one, maps))
        order = [2, 0, 3, 1]
        rows.append(_same("order of images", explain(model, images.take(order), NAME, target=order).maps, maps[order]))
        with jax.disable_jit(), jax.default_matmul_precision("highest"):
            key = image_key(jnp.uint32(0), images.seeds()[0])
            eager = method.one(CONFIG, model.params, images.x[0], jnp.int32(0), key=key, **method.options)
        rows.append(_same("jit = eager", np.asarray(eager), maps[0]))
        by_class = [explain(model, images.take([0]), NAME, target=number).maps for number in range(CONFIG.num_classes)]
        spread = float(np.ptp(np.concatenate(by_class), axis=0).max())
        specific = spread > 1e-6 * float(np.abs(maps).max())
        rows.append(
            (
                "targets",
                specific == method.class_specific,
                f"maps {'change' if specific else 'do not change'} with the class; "
                f"class_specific={method.class_specific}",
            )
        )
        return rows
    finally:
        del methods.METHODS[NAME]


def _same(name: str, ours: np.ndarray, theirs: np.ndarray) -> tuple[str, bool, str]:
    difference = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
    return name, difference <= 1e-4, f"largest relative difference {difference:.1e}"


def _find(reference: str) -> Method:
    module, colon, name = reference.partition(":")
    if not colon:
        raise ConfigError(f"{reference!r} is not of the form module:name")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ConfigError(f"{reference}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(found, Method):
        raise ConfigError(f"{reference}: {'is no vitjax.Method' if found is not None else f'{module} has no {name}'}")
    return found


def _tiny_model() -> Model:
    blank = jax.ShapeDtypeStruct((*CONFIG.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(ViT(CONFIG).init, jax.random.key(0), blank)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.3, jnp.float32), shapes)
    return Model(CONFIG, params, Preprocessing(CONFIG.image_size, crop_pct=1.0), name="tiny random model")
