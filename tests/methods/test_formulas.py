"""Each method against its formula written out with whole n x n matrices in float64 numpy."""

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, CONFIGS, case_id, tiny_images, tiny_model
from vitjax.api import request


def discard(square, ratio, keep_first):
    flat = square.flatten()
    smallest = np.argsort(flat, kind="stable")[: int(flat.size * ratio)]
    if keep_first:
        smallest = smallest[smallest != 0]
    flat[smallest] = 0
    return flat.reshape(square.shape)


def rows(square):
    return square / square.sum(-1, keepdims=True)


def product(matrices, order="last_left"):
    result = np.eye(matrices[0].shape[0])
    for matrix in matrices:
        result = matrix @ result if order == "last_left" else result @ matrix
    return result


def rollout(t, head_fusion, discard_ratio, start_layer, per_head, variant):
    n = t.attention.shape[-1]
    fuse = {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion]

    def transition(square):
        a = (discard(square, discard_ratio, True) + np.eye(n)) / 2
        return a / a.sum(-1) if variant == "vit_explain" else rows(a)

    order = "first_left" if variant == "first_left" else "last_left"
    if per_head:
        heads = [product([transition(a[h]) for a in t.attention[start_layer:]], order) for h in range(3)]
        return np.mean(heads, axis=0)
    return product([transition(fuse(a, axis=0)) for a in t.attention[start_layer:]], order)


def grad_rollout(t, discard_ratio, score, variant):
    n = t.attention.shape[-1]
    as_published = variant == "vit_explain"
    gradients = t.scores_grad[::-1] if as_published else t.attention_grad

    def transition(a, g):
        f = (discard(np.maximum((a * g).mean(0), 0), discard_ratio, False) + np.eye(n)) / 2
        return f / f.sum(-1) if as_published else rows(f)

    return product([transition(a, g) for a, g in zip(t.attention, gradients, strict=True)])


def transformer_mm(t, score, start_layer):
    relevance = np.eye(t.attention.shape[-1])
    for a, g in list(zip(t.attention, t.attention_grad, strict=True))[start_layer:]:
        relevance = relevance + np.maximum(a * g, 0).mean(0) @ relevance
    return relevance


def raw_attention(t, layer, head_fusion):
    return {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion](t.attention[layer], axis=0)


FORMULAS = {f.__name__: f for f in (rollout, grad_rollout, transformer_mm, raw_attention)}


@pytest.mark.parametrize("name", CONFIGS)
def test_methods_equal_their_formulas(name):
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        images = tiny_images(model, 2).astype(np.float64)
        found = vitjax.explain_many(model, images, CASES, target=[1, 4])
        traces = {s: vitjax.trace(model, images, target=[1, 4], score=s) for s in ("logit", "probability")}
    config = model.config
    for case in CASES:
        wanted = request(case)
        options = dict(wanted.options)
        trace = traces[options.get("score", "logit")]
        for i in range(2):
            one = trace._replace(**{k: getattr(trace, k)[i] for k in ("attention", "attention_grad", "scores_grad")})
            square = FORMULAS[wanted.name](one, **options)
            if config.pool == "token":
                expected = square[0, config.prefix :]
            else:
                expected = square[config.prefix :].mean(0)[config.prefix :]
            ours = found[wanted.label].maps[i].ravel()
            np.testing.assert_allclose(ours, expected, atol=1e-10 * np.abs(expected).max(), err_msg=case_id(case))
