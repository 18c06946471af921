"""Curves of removed pixels: equal to plain loops, shared, bounded in memory, with ties that follow the image alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from tests.metrics.helpers import BLACK, SIZE, Classifier, case, compiled, picture, probabilities, tie_free
from vitjax import metrics
from vitjax.errors import ConfigError
from vitjax.metrics.blur import blurred
from vitjax.metrics.removal import curve, ends_of, ranks, wanted_ends
from vitjax.shapes import ceil_div

SLOW = pytest.mark.slow
PIXELS = SIZE[0] * SIZE[1]
LEVELS = tuple(range(0, 101, 5))
record = {name: metric.record for name, metric in metrics.METRICS.items()}


def removed(count, fill, order="highest", start=None, heatmap=None):
    """The picture after `count` pixels, by a loop."""
    heatmap = tie_free() if heatmap is None else heatmap
    image = (picture() if start is None else start).copy()
    places = np.argsort(-heatmap if order == "highest" else heatmap, axis=None, kind="stable")[:count]
    for place in places:
        y, x = divmod(int(place), SIZE[1])
        image[y, x] = fill[y, x] if np.ndim(fill) == 3 else fill
    return image


def measured(name, heatmap=None, one=None, **options):
    """The record, compiled."""
    return compiled(lambda heatmap: record[name](case(heatmap, **(one or {})), **options))(
        tie_free() if heatmap is None else heatmap
    )


def by_loop(counts, fill, order="highest", **more):
    return np.stack([probabilities(removed(count, fill, order, **more)) for count in counts])


@pytest.mark.parametrize(
    ("fill", "levels"),
    [
        ("mean", LEVELS),
        ("black", tuple(range(10, 100, 10))),
        pytest.param("mean", (0, 3, 50, 97.5), marks=pytest.mark.slow),
    ],
)
def test_perturbation_metrics_by_loops(fill, levels):
    value = 0.0 if fill == "mean" else BLACK
    counts = [int(PIXELS * level / 100) for level in levels]
    clean = probabilities(picture())
    high, low = by_loop(counts, value), by_loop(counts, value, "lowest")
    span = levels[-1] - levels[0]
    how = {"levels": levels, "fill": fill}

    @compiled
    def measure(heatmap):
        one = case(heatmap)
        names = ("perturbation_auc", "aopc", "log_odds")
        soft = record["perturbation_auc"](one, **how, measure="probability")
        return *(record[name](one, **how) for name in names), soft, record["aopc"](one, **how, absolute=True)

    found, fall, odds, soft, absolute = measure(tie_free())
    for name, curves in (("positive", high), ("negative", low)):
        for suffix, wanted in (("", clean.argmax()), ("_label", 1)):
            right = (curves.argmax(axis=1) == wanted).astype(float)
            np.testing.assert_array_equal(found[f"{name}{suffix}_curve"], 100 * right)
            assert float(found[name + suffix]) == pytest.approx(100 * np.trapezoid(right, levels) / span, abs=1e-4)
    assert float(soft["negative_label"]) == pytest.approx(100 * np.trapezoid(low[:, 1], levels) / span, abs=1e-4)
    drop = clean[2] - high[:, 2]
    np.testing.assert_allclose(fall["curve"], drop, atol=1e-6)
    assert float(fall["value"]) == pytest.approx(drop.mean(), abs=1e-6)
    assert float(absolute["value"]) == pytest.approx(np.abs(drop).mean(), abs=1e-6)
    assert float(odds["value"]) == pytest.approx(np.log(high[:, 2] / clean[2]).mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("step", "steps"),
    [(50, None), pytest.param(16, None, marks=SLOW), pytest.param(50, 4, marks=SLOW)],
)
def test_deletion_and_insertion_by_loops(step, steps):
    needed = ceil_div(PIXELS, step)
    counts = [min(i * step, PIXELS) for i in range((steps or needed) + 1)]
    cases = [
        ("deletion", {}, by_loop(counts, 0.0)),
        ("insertion", {"start": "zeros"}, by_loop(counts, picture(), start=np.zeros_like(picture()))),
        ("insertion", {}, by_loop(counts, picture(), start=rise_blur(picture()))),
    ]

    @compiled
    def measure(heatmap):
        return [record[name](case(heatmap), step=step, steps=steps, **options) for name, options, _ in cases]

    for found, (_, _, made) in zip(measure(tie_free()), cases, strict=True):
        scores = made[:, 2]
        auc = (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)
        np.testing.assert_allclose(found["curve"], scores, atol=1e-6)
        assert float(found["value"]) == pytest.approx(auc, abs=1e-6)


def rise_blur(image, mode="fill"):
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = gaussian_filter(point, 5)
    if mode == "fill":
        channels = [convolve2d(image[..., c], kernel, mode="same") for c in range(3)]
    else:
        wide = np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="reflect")
        channels = [convolve2d(wide[..., c], kernel, mode="valid") for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "fill"), ("reflect", "reflect")])
def test_blur_is_a_convolution_with_the_published_kernel(padding, mode):
    np.testing.assert_allclose(
        compiled(blurred, static_argnums=1)(picture(), padding), rise_blur(picture(), mode), atol=1e-6
    )


def test_plain_functions_equal_the_records():
    forward = Classifier()

    @compiled
    def both(heatmap, image):
        one = case(heatmap)
        of = {"levels": (0, 50, 100)}
        by_hand = {
            "aopc": metrics.aopc(heatmap, image, forward, 2, **of),
            "log_odds": metrics.log_odds(heatmap, image, forward, 2, **of),
            "deletion": metrics.deletion(heatmap, image, forward, 2, step=96),
            "insertion": metrics.insertion(heatmap, image, forward, 2, step=96),
        }
        recorded = {name: record[name](one, **(of if "o" in name[:3] else {"step": 96})) for name in by_hand}
        auc = metrics.perturbation_auc(heatmap, image, forward, label=1, fill="black", black=BLACK, **of)
        return by_hand, recorded, auc, record["perturbation_auc"](one, fill="black", **of)

    by_hand, recorded, auc, recorded_auc = both(tie_free(), picture())
    for name, value in by_hand.items():
        assert float(value) == pytest.approx(float(recorded[name]["value"]), abs=1e-6), name
    assert {name: float(value) for name, value in auc._asdict().items()} == {
        name: float(recorded_auc[name]) for name in auc._fields
    }
    with pytest.raises(ConfigError, match="needs black"):
        metrics.aopc(tie_free(), picture(), forward, 2, fill="black")


def pictures_asked(jaxpr, marker="dot_general"):
    """How many pictures go through the classifier when the program runs: loops count by their length."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [sub.jaxpr if hasattr(sub, "jaxpr") else sub for sub in jaxprs_in_params(eqn.params)]
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += times * sum(pictures_asked(each, marker) for each in inner)
        if eqn.primitive.name == marker:
            total += eqn.invars[0].aval.shape[0]
    return total


def cost(measure, **changed):
    """Pictures that a case's metrics ask about, the clean image not counted."""
    return pictures_asked(jax.make_jaxpr(lambda heatmap: measure(case(heatmap, **changed)))(tie_free()).jaxpr) - 1


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_curves_are_shared_and_cost_exactly_their_levels(chunk):
    ends = {"mean": jnp.zeros(5), "blur": jnp.zeros(5)}
    inner = len(LEVELS) - 2

    def all_three(one):
        return [record[name](one, chunk=chunk) for name in ("perturbation_auc", "aopc", "log_odds")]

    assert cost(all_three, ends=ends) == 2 * inner
    assert cost(all_three) == 2 * inner + 1  # the removed image, once
    assert cost(lambda one: [record["aopc"](one), record["log_odds"](one)], ends=ends) == inner
    assert cost(lambda one: record["aopc"](one, levels=tuple(range(10, 100, 10)))) == 9
    assert cost(lambda one: record["deletion"](one, step=16, chunk=chunk), ends=ends) == 23
    assert cost(lambda one: record["insertion"](one, step=16, chunk=chunk), ends=ends) == 23
    assert cost(lambda one: record["insertion"](one, step=16, chunk=chunk)) == 24


def test_chunks_bound_the_memory_and_change_no_number():
    counts = range(0, PIXELS + 1, 24)
    alone = compiled(lambda heatmap: curve(case(heatmap), counts))(tie_free())
    for chunk in (2, 7, 50):
        forward = Classifier()
        found = compiled(lambda heatmap, of=forward, at=chunk: curve(case(heatmap, forward=of), counts, chunk=at))(
            tie_free()
        )
        assert max(forward.shapes) <= chunk
        for a, b in zip(found, alone, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_ends_of_a_batch_are_what_the_curves_compute():
    wanted = wanted_ends(
        [
            (metrics.METRICS[name], metrics.METRICS[name].check_options(name, options))
            for name, options in (
                ("perturbation_auc", {"fill": "black"}),
                ("aopc", {"levels": [10, 20]}),
                ("deletion", {}),
                ("insertion", {"blur_padding": "reflect"}),
                ("insertion", {"start": "zeros"}),
                ("iou", {}),
            )
        ]
    )
    assert wanted == ("black", "blur_reflect", "mean")
    images = jnp.stack([picture(0), picture(1)])
    forward = Classifier()
    black = jnp.asarray(BLACK, jnp.float32)
    batch = jax.vmap(lambda image: ends_of(forward, image, black, wanted))
    found = compiled(batch)(images)
    assert {name: each.shape for name, each in found.items()} == dict.fromkeys(wanted, (2, 5))
    # Unmapped, so computed once for all images:
    assert pictures_asked(jax.make_jaxpr(batch)(images).jaxpr) == 2 + 2
    for name in ("deletion", "insertion"):
        options = {"blur_padding": "reflect"} if name == "insertion" else {}
        with_ends = measured(name, one={"ends": {key: each[0] for key, each in found.items()}}, step=96, **options)
        without = measured(name, step=96, **options)
        np.testing.assert_allclose(with_ends["curve"], without["curve"], atol=1e-6)


def test_an_end_that_is_given_is_used():
    logits = jnp.asarray([0.0, 0.0, 50.0, 0.0, 0.0])
    assert measured("deletion", one={"ends": {"mean": logits}}, step=192)["curve"][-1] == 1


def blocky(seed=0):
    """Many ties, as upsampling leaves at the border."""
    return np.repeat(np.repeat(np.random.default_rng(seed).random((6, 4)), 4, 0), 4, 1).astype(np.float32)


def test_ties_keep_the_order_of_relevance():
    @compiled
    def rank(heatmap):
        one = case(heatmap)
        asked = [(order, ties) for ties in ("first", "random") for order in ("highest", "lowest")]
        return one.heatmap, *(ranks(one, *each) for each in asked)

    heatmap, *found = (np.asarray(each).reshape(-1) for each in rank(blocky()))
    for rank_first, sign in zip(found[:2], (-1, 1), strict=True):
        np.testing.assert_array_equal(np.argsort(rank_first), np.argsort(sign * heatmap, kind="stable"))
    high, low = found[2:]
    assert sorted(high) == list(range(PIXELS))
    assert (np.diff(heatmap[np.argsort(high)]) <= 0).all()
    np.testing.assert_array_equal(low, PIXELS - 1 - high)


def test_random_ties_follow_the_key_alone():
    def rank(key, heatmap):
        return ranks(case(heatmap, key=key))

    heatmaps = jnp.stack([blocky(i) for i in range(4)])
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(0)))(jnp.arange(4))
    many, one = compiled(jax.vmap(rank)), compiled(rank)
    batch = many(keys, heatmaps)
    order = np.asarray([2, 0, 3, 1])
    np.testing.assert_array_equal(many(keys[order], heatmaps[order]), batch[order])
    np.testing.assert_array_equal(one(keys[1], heatmaps[1]), batch[1])
    assert (one(keys[2], heatmaps[1]) != batch[1]).any()
    # Not row order: within a tied block the ranks are shuffled.
    assert (np.diff(np.asarray(batch[0])[:4, :4].reshape(-1)) < 0).any()


def test_constant_and_broken_maps_are_nan_and_alone():
    heatmaps = np.stack([tie_free(), np.zeros(SIZE, np.float32), tie_free(), tie_free()])
    heatmaps[2, 3, 3] = np.nan

    def measure(heatmap):
        one = case(heatmap)
        made = {name: record[name](one, levels=(0, 50, 100)) for name in ("perturbation_auc", "aopc", "log_odds")}
        return {**made, **{name: record[name](one, step=192) for name in ("deletion", "insertion")}}

    found, alone = compiled(jax.vmap(measure))(heatmaps), compiled(measure)(tie_free())
    for name, columns in found.items():
        for column, values in columns.items():
            assert np.isnan(values[1:3]).all(), (name, column)
            np.testing.assert_allclose(values[0], alone[name][column], atol=1e-5)
            np.testing.assert_array_equal(values[0], values[3])


def test_without_a_label_only_the_label_columns_are_nan():
    found = measured("perturbation_auc", one={"label": jnp.asarray(-1)}, levels=(0, 50, 100))
    assert np.isnan(found["positive_label"]) and np.isnan(found["negative_label_curve"]).all()
    assert np.isfinite(found["positive"]) and np.isfinite(found["negative"])


def test_half_precision_models_get_float32_curves():
    one = {"image": jnp.asarray(picture(), jnp.bfloat16)}
    assert measured("deletion", one=one, step=192)["curve"].dtype == jnp.float32


def test_levels_that_cannot_be_are_an_error_of_the_record():
    with pytest.raises(ConfigError, match="increasing percentages"):
        record["aopc"](case(), levels=(10, 5))


@pytest.mark.parametrize("levels", [(), (50,), (0, 0, 100), (10, 5), (0, 101), (-1, 50)])
def test_levels_that_cannot_be_are_an_error(levels):
    with pytest.raises(ConfigError, match="increasing percentages"):
        metrics.METRICS["aopc"].curves({"levels": levels})


@pytest.mark.parametrize("options", [{"step": 0}, {"steps": 0}, {"chunk": 0}])
def test_steps_that_cannot_be_are_an_error(options):
    with pytest.raises(ConfigError, match="at least 1"):
        record["deletion"](case(), **options)
