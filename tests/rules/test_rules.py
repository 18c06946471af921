"""Rule tables: conservation of relevance, unchanged forward passes, and that no arithmetic bypasses the table."""

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import ARCHITECTURES, tiny_images, tiny_model
from vitjax import rules
from vitjax.layerwise.collect import collect
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit import ViT
from vitjax.rules.z_rule import divide

pytestmark = pytest.mark.unoptimised

TABLES = {name: getattr(rules, name) for name in rules.__all__ if isinstance(getattr(rules, name), Ops)}
STRUCTURE = {  # primitives that move values or create constants, without arithmetic on values
    *("reshape", "transpose", "slice", "squeeze", "unstack", "concatenate", "broadcast_in_dim", "convert_element_type"),
    *("iota", "eq", "copy", "scatter"),
}


def without_biases(params):
    def zero_bias(path, leaf):
        return jnp.zeros_like(leaf) if path[-1].key == "bias" else leaf

    return jax.tree_util.tree_map_with_path(zero_bias, params)


def traced(config, table):
    """Compiled (params, image) -> `collect`'s results under a table, of class 3."""
    return jax.jit(lambda params, image: collect(config, params, image, 3, gradient=None, rules=table))


@pytest.mark.parametrize(
    "name", ["distilled", *(pytest.param(n, marks=pytest.mark.slow) for n in ("plain", "layer_scale", "gap", "swiglu"))]
)
def test_zplus_conserves_the_sum_of_relevance_at_every_layer(name):
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        image = tiny_images(model, 1)[0].astype(np.float64)
        _, trace = traced(model.config, rules.ZPLUS)(model.params, image)
        # The tolerance is for the stabiliser, which changes the sum at every layer.
        np.testing.assert_allclose(trace.tokens_relevance.sum((1, 2)), 1, atol=2e-5)


def test_original_rules_double_relevance_at_every_linear_layer():
    """Only the order of values of such relevance has a meaning."""
    with jax.enable_x64(True):
        x, kernel, bias = (np.random.default_rng(0).normal(size=s) for s in ((5, 64), (64, 6), (6,)))
        relevance = np.random.default_rng(1).normal(size=(5, 6))
        for table, factor in ((rules.LRP_ORIGINAL, 2), (rules.ZPLUS, 1)):
            _, vjp = jax.vjp(lambda x, table=table: table.linear(x, kernel, bias), x)
            np.testing.assert_allclose(vjp(relevance)[0].sum(), factor * relevance.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["layer_scale", "similarity", *(pytest.param(n, marks=pytest.mark.slow) for n in ("plain", "gap", *ARCHITECTURES))],
)
def test_conservative_identity_explains_the_whole_logit_of_a_model_without_biases(name):
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        params = without_biases(model.params)
        image = tiny_images(model, 1)[0].astype(np.float64)
        results, trace = traced(model.config, rules.CONSERVATIVE_IDENTITY)(params, image)
        per_layer = (trace.tokens * trace.tokens_relevance).sum((1, 2))
        np.testing.assert_allclose(per_layer, results.logits[3], rtol=1e-10)


def test_attn_lrp_conserves_relevance_in_every_operation_except_softmax():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 4, 6))
        gamma = rng.normal(size=4)
        table = rules.ATTN_LRP
        for function, inputs in [
            (table.matmul, (a, b)),
            (lambda q, k: table.scores(q, k, 0.3), (a, b.mT)),
            (table.multiply, (a, b.transpose(0, 2, 1)[:, :5])),
            (lambda x: table.activation(x, "gelu"), (a,)),
            (lambda x: table.activation(x, "silu"), (a,)),
            (lambda x: table.layernorm(x, gamma, jnp.zeros(4), 1e-6), (a,)),
            (lambda x: table.scale(x, 0.3), (a,)),
        ]:
            result, vjp = jax.vjp(function, *inputs)
            cotangent = rng.normal(size=result.shape)
            input_relevance = sum((x * g).sum() for x, g in zip(inputs, vjp(cotangent), strict=True))
            np.testing.assert_allclose(input_relevance, (result * cotangent).sum(), rtol=1e-10)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_a_table_does_not_change_the_forward_pass(table):
    model = tiny_model("swiglu")
    image = tiny_images(model, 1)[0]
    expected = ViT(model.config).apply({"params": model.params}, image)
    logits = ViT(model.config, TABLES[table]).apply({"params": model.params}, image)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


def test_divide_is_zero_where_the_denominator_is_zero():
    a = jnp.array([1.0, 1.0, 0.0, 2.0, 1.0])
    b = jnp.array([0.0, 2.0, 0.0, -4.0, -1e-9])
    np.testing.assert_allclose(divide(a, b), [0.0, 0.5, 0.0, -0.5, 0.0], rtol=1e-6)


def arithmetic_outside(module, model, image):
    """Names of jaxpr primitives between pixels and logits that are not part of an entry of the table.

    Every entry is wrapped in `jit`, so that its arithmetic is inside a jit equation of the jaxpr. What is computed from
    parameters alone, such as rotary angles, does not count.
    """
    jitted_ops = Ops(*(jax.jit(op, static_argnums=_static_argnums(name)) for name, op in GRADIENT._asdict().items()))
    jaxpr = jax.make_jaxpr(lambda x: module(model.config, jitted_ops).apply({"params": model.params}, x))(image)
    return sorted(_primitives_outside_jit(jaxpr.jaxpr, [True]))


def _static_argnums(name):
    stem = {"conv": (3, 4), "pixel_conv": (3, 4), "groupnorm": (3, 4), "max_pool": (1,)}
    return {"activation": (1,), "layernorm": (3,), "rmsnorm": (2,), "rotate": (3,), **stem}.get(name, ())


def _primitives_outside_jit(jaxpr, depends):
    """depends: for each input of the jaxpr, whether it depends on the pixels."""
    tainted = {variable for variable, is_tainted in zip(jaxpr.invars, depends, strict=True) if is_tainted}
    for equation in jaxpr.eqns:
        primitive = equation.primitive.name
        inputs = [not isinstance(variable, jex.core.Literal) and variable in tainted for variable in equation.invars]
        if not any(inputs):
            continue
        tainted |= set(equation.outvars)
        if primitive == "scan":
            yield from _primitives_outside_jit(equation.params["jaxpr"].jaxpr, inputs)
        elif primitive not in STRUCTURE and primitive not in ("jit", "pjit"):
            yield primitive


@pytest.mark.parametrize(
    "name", ["plain", "distilled", "swiglu", "clip", "similarity", "avg_pool", "gap", "registers", *ARCHITECTURES]
)
def test_all_arithmetic_goes_through_the_table(name):
    model = tiny_model(name)
    assert arithmetic_outside(ViT, model, tiny_images(model, 1)[0]) == []


def test_an_operation_outside_the_table_is_detected():
    class ViTWithExtraProduct(ViT):
        def classify(self, tokens, weights=None):
            return super().classify(tokens * 1.5, weights)

    model = tiny_model("plain")
    assert arithmetic_outside(ViTWithExtraProduct, model, tiny_images(model, 1)[0]) == ["mul"]


@pytest.mark.slow
def test_every_table_is_defined_on_every_kind_of_model():
    assert set(TABLES) == {"ATTN_LRP", "CONSERVATIVE", "CONSERVATIVE_IDENTITY", "LRP_ORIGINAL", "ZPLUS"}
    for name in ("distilled", "swiglu", "clip", "gap", "stem"):  # which call every entry of a table
        model = tiny_model(name)
        shapes = jax.eval_shape(
            lambda image, model=model: [
                collect(model.config, model.params, image, 0, gradient=None, rules=table)[1].tokens_relevance
                for table in TABLES.values()
            ],
            tiny_images(model, 1)[0],
        )
        size = (model.config.depth, model.config.tokens, model.config.width)
        assert [s.shape for s in shapes] == [size] * len(TABLES)
