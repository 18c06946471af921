"""Perturbation curves equal loops, are shared between metrics and bounded in memory; ties depend on the image's key."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from tests.metrics.helpers import BLACK, SIZE, Classifier, case, compiled, probabilities, random_image, tie_free
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
    """The image with `count` pixels replaced, by a loop."""
    heatmap = tie_free() if heatmap is None else heatmap
    image = (random_image() if start is None else start).copy()
    order_of_removal = np.argsort(-heatmap if order == "highest" else heatmap, axis=None, kind="stable")[:count]
    for pixel in order_of_removal:
        y, x = divmod(int(pixel), SIZE[1])
        image[y, x] = fill[y, x] if np.ndim(fill) == 3 else fill
    return image


def recorded(name, heatmap=None, fields=None, **options):
    """The columns of a metric, compiled; `fields` replace fields of the case."""
    return compiled(lambda heatmap: record[name](case(heatmap, **(fields or {})), **options))(
        tie_free() if heatmap is None else heatmap
    )


def by_loop(counts, fill, order="highest", **options):
    """Probabilities [counts, classes] of the images with removed pixels."""
    return np.stack([probabilities(removed(count, fill, order, **options)) for count in counts])


@pytest.mark.parametrize(
    ("fill", "levels"),
    [
        ("mean", LEVELS),
        ("black", tuple(range(10, 100, 10))),
        pytest.param("mean", (0, 3, 50, 97.5), marks=pytest.mark.slow),
    ],
)
def test_perturbation_metrics_equal_loops(fill, levels):
    value = 0.0 if fill == "mean" else BLACK
    counts = [int(PIXELS * level / 100) for level in levels]
    clean = probabilities(random_image())
    high, low = by_loop(counts, value), by_loop(counts, value, "lowest")
    span = levels[-1] - levels[0]
    options = {"levels": levels, "fill": fill}

    @compiled
    def measure(heatmap):
        one = case(heatmap)
        names = ("perturbation_auc", "aopc", "log_odds")
        soft = record["perturbation_auc"](one, **options, measure="probability")
        return *(record[name](one, **options) for name in names), soft, record["aopc"](one, **options, absolute=True)

    auc, aopc, odds, soft, absolute = measure(tie_free())
    for name, curves in (("positive", high), ("negative", low)):
        for suffix, reference_class in (("", clean.argmax()), ("_label", 1)):
            correct = (curves.argmax(axis=1) == reference_class).astype(float)
            np.testing.assert_array_equal(auc[f"{name}{suffix}_curve"], 100 * correct)
            assert float(auc[name + suffix]) == pytest.approx(100 * np.trapezoid(correct, levels) / span, abs=1e-4)
    assert float(soft["negative_label"]) == pytest.approx(100 * np.trapezoid(low[:, 1], levels) / span, abs=1e-4)
    drop = clean[2] - high[:, 2]
    np.testing.assert_allclose(aopc["curve"], drop, atol=1e-6)
    assert float(aopc["value"]) == pytest.approx(drop.mean(), abs=1e-6)
    assert float(absolute["value"]) == pytest.approx(np.abs(drop).mean(), abs=1e-6)
    assert float(odds["value"]) == pytest.approx(np.log(high[:, 2] / clean[2]).mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("step", "steps"),
    [(50, None), pytest.param(16, None, marks=SLOW), pytest.param(50, 4, marks=SLOW)],
)
def test_deletion_and_insertion_equal_loops(step, steps):
    needed = ceil_div(PIXELS, step)
    counts = [min(i * step, PIXELS) for i in range((steps or needed) + 1)]
    cases = [
        ("deletion", {}, by_loop(counts, 0.0)),
        ("insertion", {"start": "zeros"}, by_loop(counts, random_image(), start=np.zeros_like(random_image()))),
        ("insertion", {}, by_loop(counts, random_image(), start=rise_blur(random_image()))),
    ]

    @compiled
    def measure(heatmap):
        return [record[name](case(heatmap), step=step, steps=steps, **options) for name, options, _ in cases]

    for columns, (_, _, expected) in zip(measure(tie_free()), cases, strict=True):
        scores = expected[:, 2]
        auc = (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)
        np.testing.assert_allclose(columns["curve"], scores, atol=1e-6)
        assert float(columns["value"]) == pytest.approx(auc, abs=1e-6)


def rise_blur(image, mode="fill"):
    """The blur of RISE's code: an 11 x 11 kernel, zero padding (mode "fill") or reflection."""
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = gaussian_filter(point, 5)
    if mode == "fill":
        channels = [convolve2d(image[..., c], kernel, mode="same") for c in range(3)]
    else:
        padded = np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="reflect")
        channels = [convolve2d(padded[..., c], kernel, mode="valid") for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "fill"), ("reflect", "reflect")])
def test_blur_is_a_convolution_with_the_published_kernel(padding, mode):
    np.testing.assert_allclose(
        compiled(blurred, static_argnums=1)(random_image(), padding), rise_blur(random_image(), mode), atol=1e-6
    )


def test_plain_functions_equal_the_records():
    forward = Classifier()

    @compiled
    def both(heatmap, image):
        one = case(heatmap)
        levels, step = {"levels": (0, 50, 100)}, {"step": 96}
        plain = {
            "aopc": metrics.aopc(heatmap, image, forward, 2, **levels),
            "log_odds": metrics.log_odds(heatmap, image, forward, 2, **levels),
            "deletion": metrics.deletion(heatmap, image, forward, 2, **step),
            "insertion": metrics.insertion(heatmap, image, forward, 2, **step),
        }
        columns = {name: record[name](one, **(levels if name in ("aopc", "log_odds") else step)) for name in plain}
        auc = metrics.perturbation_auc(heatmap, image, forward, label=1, fill="black", black=BLACK, **levels)
        return plain, columns, auc, record["perturbation_auc"](one, fill="black", **levels)

    plain, columns, auc, recorded_auc = both(tie_free(), random_image())
    for name, value in plain.items():
        assert float(value) == pytest.approx(float(columns[name]["value"]), abs=1e-6), name
    assert {name: float(value) for name, value in auc._asdict().items()} == {
        name: float(recorded_auc[name]) for name in auc._fields
    }
    with pytest.raises(ConfigError, match="needs black"):
        metrics.aopc(tie_free(), random_image(), forward, 2, fill="black")


def images_classified(jaxpr, marker="dot_general"):
    """Number of images that go through the classifier when the program runs; a loop counts once per iteration."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [sub.jaxpr if hasattr(sub, "jaxpr") else sub for sub in jaxprs_in_params(eqn.params)]
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += times * sum(images_classified(sub, marker) for sub in inner)
        if eqn.primitive.name == marker:
            total += eqn.invars[0].aval.shape[0]
    return total


def cost(measure, **changed):
    """Number of images that the metrics of a case classify, in addition to the unperturbed image."""
    return images_classified(jax.make_jaxpr(lambda heatmap: measure(case(heatmap, **changed)))(tie_free()).jaxpr) - 1


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_metrics_share_curves_and_each_level_costs_one_forward(chunk):
    ends = {"mean": jnp.zeros(5), "blur": jnp.zeros(5)}
    inner = len(LEVELS) - 2

    def all_three(one):
        return [record[name](one, chunk=chunk) for name in ("perturbation_auc", "aopc", "log_odds")]

    assert cost(all_three, ends=ends) == 2 * inner
    assert cost(all_three) == 2 * inner + 1  # the fully removed image is classified once
    assert cost(lambda one: [record["aopc"](one), record["log_odds"](one)], ends=ends) == inner
    assert cost(lambda one: record["aopc"](one, levels=tuple(range(10, 100, 10)))) == 9
    assert cost(lambda one: record["deletion"](one, step=16, chunk=chunk), ends=ends) == 23
    assert cost(lambda one: record["insertion"](one, step=16, chunk=chunk), ends=ends) == 23
    assert cost(lambda one: record["insertion"](one, step=16, chunk=chunk)) == 24


def test_chunk_bounds_the_batch_size_and_does_not_change_results():
    counts = range(0, PIXELS + 1, 24)
    one_by_one = compiled(lambda heatmap: curve(case(heatmap), counts))(tie_free())
    for chunk in (2, 7, 50):
        forward = Classifier()
        compute = compiled(lambda heatmap, f=forward, n=chunk: curve(case(heatmap, forward=f), counts, chunk=n))
        chunked = compute(tie_free())
        assert max(forward.batch_sizes) <= chunk
        for a, b in zip(chunked, one_by_one, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_ends_of_a_batch_equal_what_curves_compute_themselves():
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
    images = jnp.stack([random_image(0), random_image(1)])
    forward = Classifier()
    black = jnp.asarray(BLACK, jnp.float32)
    batch = jax.vmap(lambda image: ends_of(forward, image, black, wanted))
    ends = compiled(batch)(images)
    assert {name: logits.shape for name, logits in ends.items()} == dict.fromkeys(wanted, (2, 5))
    # "black" and "mean" do not depend on the image, so vmap computes them once for both images.
    assert images_classified(jax.make_jaxpr(batch)(images).jaxpr) == 2 + 2
    for name in ("deletion", "insertion"):
        options = {"blur_padding": "reflect"} if name == "insertion" else {}
        given = {"ends": {key: logits[0] for key, logits in ends.items()}}
        with_ends = recorded(name, fields=given, step=96, **options)
        without = recorded(name, step=96, **options)
        np.testing.assert_allclose(with_ends["curve"], without["curve"], atol=1e-6)


def test_given_ends_are_used():
    logits = jnp.asarray([0.0, 0.0, 50.0, 0.0, 0.0])
    assert recorded("deletion", fields={"ends": {"mean": logits}}, step=192)["curve"][-1] == 1


def blocky(seed=0):
    """A map with many ties, as upsampling creates at the border."""
    return np.repeat(np.repeat(np.random.default_rng(seed).random((6, 4)), 4, 0), 4, 1).astype(np.float32)


def test_ties_keep_the_order_of_relevance():
    @compiled
    def rank(heatmap):
        one = case(heatmap)
        settings = [(order, ties) for ties in ("first", "random") for order in ("highest", "lowest")]
        return one.heatmap, *(ranks(one, order, ties) for order, ties in settings)

    heatmap, *all_ranks = (np.asarray(array).reshape(-1) for array in rank(blocky()))
    for rank_first, sign in zip(all_ranks[:2], (-1, 1), strict=True):
        np.testing.assert_array_equal(np.argsort(rank_first), np.argsort(sign * heatmap, kind="stable"))
    high, low = all_ranks[2:]
    assert sorted(high) == list(range(PIXELS))
    assert (np.diff(heatmap[np.argsort(high)]) <= 0).all()
    np.testing.assert_array_equal(low, PIXELS - 1 - high)


def test_random_ties_depend_only_on_the_key():
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
    # Within a tied block, ranks are shuffled instead of following row-major order.
    assert (np.diff(np.asarray(batch[0])[:4, :4].reshape(-1)) < 0).any()


def test_constant_and_non_finite_maps_give_nan_and_do_not_affect_others():
    heatmaps = np.stack([tie_free(), np.zeros(SIZE, np.float32), tie_free(), tie_free()])
    heatmaps[2, 3, 3] = np.nan

    def measure(heatmap):
        one = case(heatmap)
        columns = {name: record[name](one, levels=(0, 50, 100)) for name in ("perturbation_auc", "aopc", "log_odds")}
        return {**columns, **{name: record[name](one, step=192) for name in ("deletion", "insertion")}}

    batch, alone = compiled(jax.vmap(measure))(heatmaps), compiled(measure)(tie_free())
    for name, columns in batch.items():
        for column, values in columns.items():
            assert np.isnan(values[1:3]).all(), (name, column)
            np.testing.assert_allclose(values[0], alone[name][column], atol=1e-5)
            np.testing.assert_array_equal(values[0], values[3])


def test_without_a_label_only_the_label_columns_are_nan():
    columns = recorded("perturbation_auc", fields={"label": jnp.asarray(-1)}, levels=(0, 50, 100))
    assert np.isnan(columns["positive_label"]) and np.isnan(columns["negative_label_curve"]).all()
    assert np.isfinite(columns["positive"]) and np.isfinite(columns["negative"])


def test_half_precision_models_get_float32_curves():
    fields = {"image": jnp.asarray(random_image(), jnp.bfloat16)}
    assert recorded("deletion", fields=fields, step=192)["curve"].dtype == jnp.float32


def test_record_rejects_invalid_levels():
    with pytest.raises(ConfigError, match="increasing percentages"):
        record["aopc"](case(), levels=(10, 5))


@pytest.mark.parametrize("levels", [(), (50,), (0, 0, 100), (10, 5), (0, 101), (-1, 50)])
def test_curves_reject_invalid_levels(levels):
    with pytest.raises(ConfigError, match="increasing percentages"):
        metrics.METRICS["aopc"].curves({"levels": levels})


@pytest.mark.parametrize("options", [{"step": 0}, {"steps": 0}, {"chunk": 0}])
def test_record_rejects_invalid_steps(options):
    with pytest.raises(ConfigError, match="at least 1"):
        record["deletion"](case(), **options)
