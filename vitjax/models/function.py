"""`from_function`: a model from any JAX function of one image."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution.backend import check_backend
from vitjax.images.geometry import Preprocessing
from vitjax.models.class_names import Labels
from vitjax.models.model import Model
from vitjax.nn.function import config_of, traced
from vitjax.nn.network import is_floating, params_dtype
from vitjax.output.terminal import say
from vitjax.shapes import Params

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Where an object lies in memory, in the text of a program; another in each process."""


def from_function(
    apply: Callable[[Any, Any], Any],
    params: Any,
    *,
    image_size: int | tuple[int, int],
    num_classes: int | None = None,
    preprocess: Preprocessing | Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    feature_maps: Sequence[str] | None = None,
    name: str = "custom",
    dtype: str | None = None,
) -> Model:
    """A model from any JAX function of one image: flax linen, flax nnx, equinox, or plain.

    Methods that read pixels, gradients by pixels or outputs run on it, Grad-CAM on the feature maps that it returns,
    and all metrics; methods that read a transformer's layers are refused by name. docs/own-models.md has an example
    for each library.

    Args:
        apply: (params, image) -> logits [k] of ONE normalised image [H, W, 3], or (logits, {name: feature map
            [h, w, c]}) for Grad-CAM. The function must be pure: dropout and the updating of statistics switched off.
            Each map must be the very array that the logits are computed from, such as the output of a layer.
        params: the parameters, a tree of arrays, from which `apply` computes. Integers and PRNG keys in it are kept.
        image_size: (height, width) of an image in pixels, or one number for both.
        num_classes: number of classes, which must be that of the logits; 0 says that the outputs are features, not
            classes; None takes the number of outputs. One output is the logit of a sigmoid.
        preprocess: a `Preprocessing`, or a dict with some of its fields: mean, std, crop_pct, crop_mode,
            interpolation. None resizes and normalises by ImageNet's mean and standard deviation, and says so on stderr.
        class_names: one name for each class; None for none.
        feature_maps: names of the maps that CAMs may use, from input to output, so that layer=-1 is the last; None
            takes all maps in the order in which `apply` puts them into its dict.
        name: of the model, for figures, tables and manifests.
        dtype: "float32", "bfloat16" or "float64" (which needs JAX_ENABLE_X64): of the images, and of all
            floating-point parameters, which are converted; None takes that of the parameters, the widest if they
            differ, and converts nothing.

    Returns:
        The model. `model.weights` records the name of the function, a sha256 of the parameters and one of the
        function's program. A run of `evaluate` is resumed only if both are the same; another version of JAX may
        write the program of the same function differently.

    Raises:
        ConfigError: the function fails for an image, takes batches, returns another number or shape of outputs,
            ignores its parameters or the image, or returns NaN or Inf for a test image; or an argument is invalid.

    Cost: abstract traces, and one forward of a random image.

    Example:
        >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
        >>> def apply(params, image):
        ...     features = jnp.tanh(image[::8, ::8])
        ...     return features.mean((0, 1)) @ params["kernel"] + params["bias"], {"features": features}
        >>> model = vitjax.from_function(apply, params, image_size=64, preprocess={"mean": [0.5] * 3, "std": [0.5] * 3})
        >>> vitjax.explain(model, image, "grad_cam", layer="features").maps.shape
        (1, 8, 8)
    """
    check_backend()
    if not callable(apply):
        raise ConfigError(f"apply must be a function (params, image) -> logits, not a {type(apply).__name__}")
    size = _checked_size(image_size)
    preprocessing = _preprocessing(preprocess, size)
    params = _checked_params(params, dtype)
    wide = params_dtype(params) == np.float64
    with jax.enable_x64(wide):
        image = jax.ShapeDtypeStruct((*size, 3), params_dtype(params))
        config = config_of(apply, params, image, num_classes, feature_maps)
        program = _program_digest(apply, params, image)
    labels = None if class_names is None else _labels(class_names, config.num_classes)
    record = {
        "source": f"{getattr(apply, '__module__', '')}.{getattr(apply, '__qualname__', type(apply).__name__)}",
        "format": "function",
        "sha256": tree_digest(params),
        "function": program,
    }
    model = Model(config, params, preprocessing, labels, name, record)
    probe = np.random.default_rng(0).normal(size=(1, *size, 3))
    with model.settings():
        logits = np.asarray(model.logits(jnp.asarray(probe, model.dtype)))
    if not np.isfinite(logits).all():
        raise ConfigError("apply returns NaN or Inf for an image of normally distributed pixels")
    return model


def tree_digest(params: Params) -> str:
    """SHA-256 (hex) of names, dtypes, shapes and bytes of all parameters, in the dtype that the model uses."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        is_key = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _program_digest(apply: Callable[[Any, Any], Any], params: Params, image: jax.ShapeDtypeStruct) -> str:
    """SHA-256 (hex) of the function's program and of the arrays that it encloses."""
    closed = traced(apply, params, image).closed
    sha = hashlib.sha256(ADDRESS.sub("", str(closed)).encode())
    for constant in _constants(closed):
        sha.update(tree_digest(constant).encode())
    return sha.hexdigest()


def _constants(closed: Any) -> Iterator[Any]:
    """Arrays that a program encloses, and those of the programs that it calls."""
    yield from getattr(closed, "consts", ())
    for equation in closed.eqns:
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
                if hasattr(inner, "eqns"):
                    yield from _constants(inner)


def _checked_size(image_size: Any) -> tuple[int, int]:
    sides = (image_size, image_size) if isinstance(image_size, int | np.integer) else image_size
    try:
        height, width = (int(side) for side in sides if side == int(side) and side > 0)
    except (TypeError, ValueError):
        raise ConfigError(f"image_size={image_size!r}: must be (height, width) in pixels, or one number") from None
    return height, width


def _checked_params(params: Any, dtype: str | None) -> Params:
    """The parameters as JAX arrays, floating-point ones of the given dtype.

    Raises:
        ConfigError: a leaf is no array, there are no floating-point numbers, or an invalid dtype.
    """
    if dtype not in (None, "float32", "bfloat16", "float64"):
        raise ConfigError(f"dtype {dtype!r}: must be one of float32, bfloat16, float64")
    wide = jax.dtypes.canonicalize_dtype("float64") == jnp.float64
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        if not hasattr(leaf, "dtype"):
            where = jax.tree_util.keystr(path)
            raise ConfigError(f"params{where} is a {type(leaf).__name__}, not an array; keep it out of params")
    if not any(is_floating(leaf) for _, leaf in leaves):
        raise ConfigError("params holds no floating-point arrays: pass the parameters that apply computes with")
    if not wide and (dtype == "float64" or (dtype is None and any(leaf.dtype == np.float64 for _, leaf in leaves))):
        raise ConfigError("float64 needs JAX_ENABLE_X64=1 in the environment (or jax.enable_x64), or dtype='float32'")
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype if is_floating(leaf) else None), params)


def _preprocessing(given: Preprocessing | Mapping[str, Any] | None, size: tuple[int, int]) -> Preprocessing:
    """The preprocessing at an image size.

    Raises:
        ConfigError: unknown entries, invalid values, or another size.
    """
    stated = given.size if isinstance(given, Preprocessing) else (given or {}).get("size", size)
    if _checked_size(stated) != size:
        raise ConfigError(f"preprocess is for images of {stated} pixels, image_size is {size}")
    if isinstance(given, Preprocessing):
        return given
    if given is None:
        say("preprocess not given: bicubic resize, normalised by ImageNet's mean and standard deviation", error=True)
    known = {field.name for field in dataclasses.fields(Preprocessing)}
    entries = dict(given or {})
    for key in entries:
        if key not in known:
            raise ConfigError(f"preprocess: {key!r} is not one of {', '.join(sorted(known))}")
    values: dict[str, Any] = {"crop_pct": 1.0}
    for key, value in entries.items():
        values[key] = tuple(value) if isinstance(value, list | np.ndarray) else value
    try:
        return Preprocessing(**{**values, "size": size})
    except TypeError as error:
        raise ConfigError(f"preprocess={entries}: {error}") from error


def _labels(class_names: Sequence[str], num_classes: int) -> Labels:
    names = tuple(class_names)
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError("class_names must be a list of texts, one for each class")
    if len(names) != num_classes:
        raise ConfigError(f"class_names has {len(names)} names, the model has {num_classes} classes")
    return Labels(names)
