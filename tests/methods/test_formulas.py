"""Each method against its formula on whole n x n matrices (vitjax.verifying), with float64 arrays of jax.grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, CONFIGS, case_id, tiny_images, tiny_model
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.nn.block import Block
from vitjax.nn.vit import ViT
from vitjax.verifying.formulas import FORMULAS, NEEDS_RULES, RANDOM
from vitjax.verifying.model_run import FullGradient, ModelRun, Trace

pytestmark = pytest.mark.unoptimised

TARGETS = [1, 4]


class JaxRun(ModelRun):
    """Arrays from jax.grad of the flax modules. Only `trace` uses the shared pass, which tests/layerwise checks."""

    def __init__(self, model, image, target):
        self.model, self.config, self.image, self.target = model, model.config, image, target
        self.traces = {score: self.trace(image, score) for score in ("logit", "probability")}

        def value(image, as_probability):
            logits = ViT(model.config).apply({"params": model.params}, image)
            return jnp.where(as_probability, jax.nn.softmax(logits), logits)[target]

        self.value, self.value_gradient = jax.jit(value), jax.jit(jax.grad(value))

    def trace(self, image, score):
        stacked = vitjax.trace(self.model, image[None], target=self.target, score=score, normalised=True)
        return Trace(**{name: getattr(stacked, name)[0] for name in Trace._fields})

    def layer(self, number):
        return jax.tree.map(lambda a: a[number], self.model.params["blocks"])

    def projection(self, layer):
        return np.asarray(self.layer(layer)["attn"]["proj"]["kernel"])

    def layer_scale(self, layer):
        return np.asarray(self.layer(layer)["ls1"]["gamma"])

    def apply_block(self, params, x, attention_offset):
        """Output and intermediates of a block with `attention_offset` added to its attention."""
        taps = jax.tree.map(jnp.zeros_like, Block(self.config).init(jax.random.key(0), x)["perturbations"])
        taps = {**taps, "attn": {**taps["attn"], "attention": attention_offset}}
        variables = {"params": params, "perturbations": taps}
        return Block(self.config).apply(variables, x, mutable=["intermediates"])

    def classify(self, x, *weights):
        return ViT(self.config).apply({"params": self.model.params}, x, *weights, method="classify")[self.target]

    def residual_attention_grad(self):
        config = self.config

        def logit(offsets):
            x = ViT(config).apply({"params": self.model.params}, self.image, method="embed")
            for number in range(config.depth):
                block = self.layer(number)
                constant = jax.lax.stop_gradient(x)
                _, state = self.apply_block(block, constant, offsets[number])
                middle = x + state["intermediates"]["middle"] - constant
                # With a projection of zeros, the block computes its MLP only.
                zero_projection = jax.tree.map(jnp.zeros_like, block["attn"]["proj"])
                attn = {**block["attn"], "proj": zero_projection}
                x = Block(config).apply({"params": {**block, "attn": attn}}, middle)
            return self.classify(x)

        zeros = jnp.zeros((config.depth, config.heads, config.tokens, config.tokens))
        return np.asarray(jax.jit(jax.grad(logit))(zeros))

    def local_attention_grad(self, layer, pool):
        n = self.config.tokens
        weights = [] if pool == "cls" else [jnp.full(n, 1 / n)]
        x = self.traces["logit"].tokens[layer]

        def logit(offset):
            return self.classify(self.apply_block(self.layer(layer), x, offset)[0], *weights)

        return np.asarray(jax.jit(jax.grad(logit))(jnp.zeros((self.config.heads, n, n))))

    def score(self, image, score):
        return float(self.value(jnp.asarray(image), score == "probability"))

    def image_gradient(self, image, score):
        return np.asarray(self.value_gradient(jnp.asarray(image), score == "probability"))

    def full_gradient(self, score):
        params, module = self.model.params, ViT(self.config)
        shapes = jax.eval_shape(module.init, jax.random.key(0), self.image)["perturbations"]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)

        def value(image, positions, zeros):
            variables = {"params": {**params, "pos_embed": positions}, "perturbations": zeros}
            logits = module.apply(variables, image)
            return (logits if score == "logit" else jax.nn.softmax(logits))[self.target]

        gradients = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(jnp.asarray(self.image), params["pos_embed"], zeros)
        image_grad, positions_grad, result_grads = jax.tree.map(np.asarray, gradients)
        biases = []
        if self.config.patch_bias:
            bias = np.asarray(params["patch_embed"]["proj"]["bias"])
            biases.append((bias, result_grads["patch_embed"]["proj"]["result"]))
        for part, name in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
            linear = params["blocks"][part][name]
            if "bias" in linear:
                grads = result_grads["blocks"][part][name]["result"]
                biases += list(zip(np.asarray(linear["bias"]), grads, strict=True))
        return FullGradient(image_grad, np.asarray(params["pos_embed"]), positions_grad, biases)


# Every feature of the other configurations is in one of these as well: patch count, LayerScale, positions on patches.
FAMILIES = [name for name in CONFIGS if name not in ("plain", "patch14", "layer_scale", "non_square")]


@pytest.mark.slow  # in the quick suite, tests/methods/test_golden.py checks the same formulas
@pytest.mark.parametrize("name", FAMILIES)
def test_methods_equal_their_formulas(name):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        model = tiny_model(name, np.float64)
        images = tiny_images(model, 2).astype(np.float64)
        # Slow methods do not depend on the family and run on one. The other methods of CASES are checked in
        # tests/verifying/test_torch_parity.py and test_perturbation.py.
        with_formula = [case for case in CASES if case["method"] not in (*NEEDS_RULES, *RANDOM)]
        cases = [case for case in with_formula if name == "registers" or not METHODS[case["method"]].slow]
        explanations = vitjax.explain_many(model, images, cases, target=TARGETS)
        runs = [JaxRun(model, image, target) for image, target in zip(images, TARGETS, strict=True)]
        for case in cases:
            case_request = request(case)
            for i, run in enumerate(runs):
                expected = FORMULAS[case_request.name](run, **dict(case_request.options))
                ours = explanations[case_request.label].maps[i].ravel()
                scale = np.abs(expected).max()
                # scipy's capacities are integers, so that flows are rounded to 1e-9 per edge.
                tolerance = 1e-7 if case_request.name == "attention_flow" else 1e-9
                np.testing.assert_allclose(ours, expected, atol=tolerance * scale, rtol=0, err_msg=case_id(case))
