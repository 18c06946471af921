"""Each method against its formula with whole n x n matrices (tests/oracles), on arrays from jax.grad in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, CONFIGS, case_id, tiny_images, tiny_model
from tests.oracles.formulas import FORMULAS, NEEDS_RULES, RANDOM, FullGradient, Reading, Trace
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.nn.vit import Block, ViT

pytestmark = pytest.mark.unoptimised

TARGETS = [1, 4]


class JaxWorld(Reading):
    """By jax.grad of the flax modules, without the sweep except for `trace`, which test_trace.py checks."""

    def __init__(self, model, image, target):
        self.model, self.config, self.image, self.target = model, model.config, image, target
        self.traces = {score: self.trace(image, score) for score in ("logit", "probability")}

        def value(image, as_probability):
            logits = ViT(model.config).apply({"params": model.params}, image)
            return jnp.where(as_probability, jax.nn.softmax(logits), logits)[target]

        self.value, self.value_gradient = jax.jit(value), jax.jit(jax.grad(value))

    def trace(self, image, score):
        stacked = vitjax.trace(self.model, image[None], target=self.target, score=score)
        return Trace(**{name: getattr(stacked, name)[0] for name in Trace._fields})

    def layer(self, number):
        return jax.tree.map(lambda a: a[number], self.model.params["blocks"])

    def projection(self, layer):
        return np.asarray(self.layer(layer)["attn"]["proj"]["kernel"])

    def layer_scale(self, layer):
        return np.asarray(self.layer(layer)["ls1"]["gamma"])

    def apply_block(self, params, x, attention_offset):
        """-> output, intermediates; a constant added to the attention."""
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
                _, seen = self.apply_block(block, constant, offsets[number])
                middle = x + seen["intermediates"]["middle"] - constant
                # The MLP half alone: the same block with its attention branch switched off.
                silent = jax.tree.map(jnp.zeros_like, block["attn"]["proj"])
                x = Block(config).apply({"params": {**block, "attn": {**block["attn"], "proj": silent}}}, middle)
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

        by_all = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(jnp.asarray(self.image), params["pos_embed"], zeros)
        image_grad, positions_grad, by_result = jax.tree.map(np.asarray, by_all)
        biases = []
        if self.config.patch_bias:
            place = params["patch_embed"]["proj"], by_result["patch_embed"]["proj"]
            biases.append((np.asarray(place[0]["bias"]), place[1]["result"]))
        for part, name in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
            linear = params["blocks"][part][name]
            if "bias" in linear:
                biases += list(zip(np.asarray(linear["bias"]), by_result["blocks"][part][name]["result"], strict=True))
        return FullGradient(image_grad, np.asarray(params["pos_embed"]), positions_grad, biases)


# The others have nothing that one of these has not: a number of patches, LayerScale, positions on the patches alone.
FAMILIES = [name for name in CONFIGS if name not in ("plain", "patch14", "layer_scale", "non_square")]


@pytest.mark.slow  # tests/methods/test_golden.py holds the quick suite to the same formulas
@pytest.mark.parametrize("name", FAMILIES)
def test_methods_equal_their_formulas(name):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        model = tiny_model(name, np.float64)
        images = tiny_images(model, 2).astype(np.float64)
        # What is slow and the same for every family runs on one. The others of CASES are those of
        # tests/oracles/test_torch_parity.py and test_perturbation.py.
        formulas = [case for case in CASES if case["method"] not in (*NEEDS_RULES, *RANDOM)]
        cases = [case for case in formulas if name == "registers" or not METHODS[case["method"]].slow]
        found = vitjax.explain_many(model, images, cases, target=TARGETS)
        worlds = [JaxWorld(model, image, target) for image, target in zip(images, TARGETS, strict=True)]
        for case in cases:
            wanted = request(case)
            for i, world in enumerate(worlds):
                expected = FORMULAS[wanted.name](world, **dict(wanted.options))
                ours = found[wanted.label].maps[i].ravel()
                scale = np.abs(expected).max()
                # scipy takes integer capacities: flows are rounded to 1e-9 per edge.
                tolerance = 1e-7 if wanted.name == "attention_flow" else 1e-9
                np.testing.assert_allclose(ours, expected, atol=tolerance * scale, rtol=0, err_msg=case_id(case))
