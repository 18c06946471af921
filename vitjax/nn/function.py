"""Any JAX function of one image as a network: its configuration, and its logits as a function of a feature map.

A model that `vitjax.from_function` makes has no modules that vitjax could open. Grad-CAM needs the gradient of a logit
by a feature map; the function returns the map beside its logits, and `FunctionNetwork.split` evaluates its program
(jaxpr) with the map as an input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters.partial_eval import dce_jaxpr

from vitjax.errors import ConfigError
from vitjax.nn.programs import evaluate_with, place_of
from vitjax.shapes import Array, Float, Image, Logits, Params, ceil_div

CELL = 16
"""Side [pixels] of the cells of class-agnostic baselines for a function that returns no feature map."""

FeatureMap = Float[Array, "down across c"]


class MapShape(NamedTuple):
    """Name and shape (h, w, c) of a feature map that a function returns."""

    name: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class FunctionConfig:
    """A function (params, image [H, W, 3]) -> logits [k], or (logits, {name: feature map [h, w, c]}).

    Hashable, so that it can be a static argument of compiled functions; two configurations are equal only if they hold
    the same function object. `config_of` creates and checks one.

    apply: the function. image_size: (height, width) in pixels. num_classes: number of classes; 0 for a function whose
        outputs are features. features: number of outputs. feature_maps: the maps that it returns, from input to output.
    """

    apply: Callable[[Any, Any], Any]
    image_size: tuple[int, int]
    num_classes: int
    features: int
    feature_maps: tuple[MapShape, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """Grid (height, width) of the last feature map; without one, of cells of 16 pixels."""
        if self.feature_maps:
            return self.feature_maps[-1].shape[:2]
        height, width = self.image_size
        return ceil_div(height, CELL), ceil_div(width, CELL)

    @property
    def covered(self) -> tuple[int, int]:
        """(height, width) in pixels that the grid stands for: the whole image."""
        return self.image_size

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the feature maps, from input to output."""
        return tuple(feature_map.name for feature_map in self.feature_maps)


class FunctionNetwork(NamedTuple):
    """Calls the function of a configuration as flax modules are called."""

    config: FunctionConfig

    def apply(self, variables: Mapping[str, Params], image: Image) -> Logits:
        """Logits [k] of an image; `variables` is {"params": params}."""
        return _logits_and_maps(self.config.apply(variables["params"], image))[0]

    def split(self, params: Params, image: Image, name: str) -> tuple[FeatureMap, Callable[[FeatureMap], Logits]]:
        """A feature map [h, w, c] of an image, and the function map -> logits of everything after it.

        The second function evaluates the program of `apply` with the map in the place of what it computes there. So its
        derivative is that of the logits by this map, with everything that does not depend on the map held constant.

        Cost: 1F for the map; what the second function has in common with it is compiled once.
        """
        program = traced(self.config.apply, params, image)
        arguments = jax.tree.leaves((params, image))
        number = program.map_names.index(name)
        place = place_of(program.jaxpr, program.jaxpr.outvars[1 + number])
        assert place is not None, "config_of has found it"
        value = core.jaxpr_as_fun(program.closed)(*arguments)[1 + number]

        def logits_from(feature_map: FeatureMap) -> Logits:
            return evaluate_with(program.jaxpr, program.closed.consts, arguments, place, feature_map)[0]

        return value, logits_from


class TracedFunction(NamedTuple):
    """A function as a program whose inputs are the leaves of (params, image), and whose outputs are logits and maps."""

    closed: Any
    map_names: tuple[str, ...]

    @property
    def jaxpr(self) -> Any:
        """The program without its constants."""
        return self.closed.jaxpr

    def reads(self) -> list[bool]:
        """For each input, whether the logits depend on it."""
        outputs = [True] + [False] * (len(self.jaxpr.outvars) - 1)
        return list(dce_jaxpr(self.jaxpr, outputs)[1])


def traced(apply: Callable[[Any, Any], Any], params: Params, image: Any) -> TracedFunction:
    """The program of a function; `image` may be a ShapeDtypeStruct."""
    names: list[str] = []

    def flat(params: Params, image: Any) -> tuple[Any, ...]:
        logits, maps = _logits_and_maps(apply(params, image))
        names[:] = list(maps)
        return logits, *maps.values()

    closed = jax.make_jaxpr(flat)(params, image)
    return TracedFunction(closed, tuple(names))


def config_of(
    apply: Callable[[Any, Any], Any],
    params: Params,
    image: jax.ShapeDtypeStruct,
    num_classes: int | None = None,
    feature_maps: Sequence[str] | None = None,
) -> FunctionConfig:
    """The configuration of a function, by abstract traces; nothing is computed.

    Args:
        apply: the function.
        params: its parameters.
        image: shape [H, W, 3] and dtype of an image.
        num_classes: number of classes that its logits must have; 0 if they are features; None takes their number.
        feature_maps: the maps that CAMs may use, from input to output; None takes all that `apply` returns.

    Raises:
        ConfigError: the function fails, returns something else, or ignores the image, its parameters or a map.
    """
    try:
        hash(apply)
    except TypeError:
        raise ConfigError(
            f"apply, a {type(apply).__name__}, is not hashable: pass a function that takes the arrays as params, such "
            "as lambda params, image: eqx.combine(params, static)(image) after eqx.partition(model, eqx.is_array)"
        ) from None
    shapes = _result_shapes(apply, params, image)
    logits, maps = _checked_result(apply, params, image, shapes)
    outputs = logits.shape[0]
    if num_classes not in (None, 0, outputs):
        raise ConfigError(f"num_classes={num_classes}, but apply returns {outputs} logits")
    program = traced(apply, params, image)
    *reads_params, reads_image = program.reads()
    if not reads_image:
        raise ConfigError("the logits do not depend on the image")
    if not any(reads_params):
        raise ConfigError(
            "the logits do not depend on params: apply must compute with its argument params, and not with a model "
            "that it encloses, as in lambda params, image: nnx.merge(graphdef, params)(image)"
        )
    names = tuple(maps) if feature_maps is None else tuple(feature_maps)
    for name in names:
        if name not in maps:
            raise ConfigError(f"feature_maps: apply returns no map {name!r}, but {', '.join(maps) or 'logits alone'}")
        _check_map(program, name, maps[name])
    height, width = image.shape[:2]
    return FunctionConfig(
        apply,
        (height, width),
        outputs if num_classes is None else num_classes,
        outputs,
        tuple(MapShape(name, tuple(maps[name].shape)) for name in names),
    )


def _logits_and_maps(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """Logits and feature maps of what a function returned."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        return result
    return result, {}


def _result_shapes(apply: Callable[[Any, Any], Any], params: Params, image: jax.ShapeDtypeStruct) -> Any:
    """What the function returns for an image, as shapes.

    Raises:
        ConfigError: it fails.
    """
    try:
        return jax.eval_shape(lambda *arguments: _logits_and_maps(apply(*arguments)), params, image)
    except Exception as error:  # whatever a user's function raises
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(
            f"apply(params, image) failed for one image {_named(image)}: {cause}{_advice(apply, params, image)}"
        ) from error


def _checked_result(
    apply: Callable[[Any, Any], Any], params: Params, image: jax.ShapeDtypeStruct, shapes: Any
) -> tuple[jax.ShapeDtypeStruct, Mapping[str, jax.ShapeDtypeStruct]]:
    """Logits and maps that the function returns, as shapes.

    Raises:
        ConfigError: the logits are not floats [k], or a map is no array.
    """
    logits, maps = shapes
    wanted = "logits [k], or (logits, {name: feature map [h, w, c]})"
    if not all(isinstance(output, jax.ShapeDtypeStruct) for output in (logits, *maps.values())):
        raise ConfigError(f"apply must return {wanted} for one image, not a {type(logits).__name__} of other things")
    if logits.ndim != 1 or not logits.size or not jnp.issubdtype(logits.dtype, jnp.floating):
        one = "; return one output as an array of shape [1]" if logits.ndim == 0 else ""
        raise ConfigError(
            f"apply must return {wanted} for one image {_named(image)}, not {_named(logits)}"
            f"{one or _advice(apply, params, image)}"
        )
    return logits, maps


def _advice(apply: Callable[[Any, Any], Any], params: Params, image: jax.ShapeDtypeStruct) -> str:
    """What to write for a function that takes batches; nothing for others."""
    batch = jax.ShapeDtypeStruct((1, *image.shape), image.dtype)
    try:
        logits, _ = jax.eval_shape(lambda *arguments: _logits_and_maps(apply(*arguments)), params, batch)
    except Exception:  # it takes no batches either
        return ""
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != 1:
        return ""
    return (
        f"; it takes batches, {_named(batch)}: pass lambda params, image: apply(params, image[None])[0] for a "
        "function that returns logits alone"
    )


def _named(array: Any) -> str:
    return f"{list(array.shape)} {array.dtype}"


def _check_map(program: TracedFunction, name: str, shape: jax.ShapeDtypeStruct) -> None:
    """Check that the logits can be differentiated by a map.

    Raises:
        ConfigError: the map is not [h, w, c], or the logits are not computed from this very array.
    """
    if shape.ndim != 3 or not shape.size or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ConfigError(f"feature map {name!r}: must be floats [h, w, c], not {_named(shape)}")
    place = place_of(program.jaxpr, program.jaxpr.outvars[1 + program.map_names.index(name)])
    if place is not None:

        def logits_from(feature_map: Any, *arguments: Any) -> Any:
            return evaluate_with(program.jaxpr, program.closed.consts, arguments, place, feature_map)[0]

        inputs = [jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype) for variable in program.jaxpr.invars]
        split = jax.make_jaxpr(logits_from)(shape, *inputs).jaxpr
        if dce_jaxpr(split, [True])[1][0]:
            return
    raise ConfigError(
        f"feature map {name!r}: the logits are not computed from the array that apply returns; return the very array "
        "that the next layer reads, neither a reshaped or converted copy of it nor one from inside a scan"
    )
