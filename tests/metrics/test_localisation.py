"""Localisation metrics equal scikit-learn's metrics and loops."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

from tests.metrics.helpers import GRID, SIZE, case, compiled, mask_of, tie_free
from vitjax import maps, metrics
from vitjax.errors import ConfigError
from vitjax.metrics.masks import mask_on_grid, pooled, share_on_grid
from vitjax.metrics.pooled import pooled_mean_iou, pooled_share
from vitjax.metrics.segmentation import above_threshold

MASKED = ["pixel_accuracy", "iou", "mean_iou", "average_precision", "f1", "jaccard", "pointing_game"]
MASKED += ["energy_pointing_game"]


def with_ties(seed=0, steps=7):
    heatmap = np.floor(tie_free(seed) * steps) / steps
    return (heatmap / heatmap.max()).astype(np.float32)


def truth(mask):
    """(valid pixels, whether each valid pixel is object), flattened."""
    valid = mask.reshape(-1) != 128
    return valid, (mask.reshape(-1) == 255)[valid]


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("threshold", ["mean", 0.5, 0.2])
def test_thresholded_metrics_equal_scikit_learn(threshold, ignore):
    heatmap, mask = tie_free(1), mask_of(1, ignore=ignore)
    valid, y = truth(mask)
    t = heatmap.astype(np.float64).mean() if threshold == "mean" else threshold
    hit = (heatmap > t).reshape(-1)[valid]
    expected = {
        "pixel_accuracy": sk.accuracy_score(y, hit),
        "iou": sk.jaccard_score(y, hit),
        "jaccard": sk.jaccard_score(y, hit),
        "mean_iou": sk.jaccard_score(y, hit, average="macro"),
        "f1": sk.f1_score(y, hit),
    }
    ours = {name: float(getattr(metrics, name)(heatmap, mask, threshold=threshold)) for name in expected}
    assert ours == pytest.approx(expected, abs=1e-7)


def test_a_pixel_at_the_threshold_is_no_hit():
    heatmap = np.asarray([[0.0, 0.5], [0.5, 1.0]], np.float32)
    counts = metrics.counts(heatmap, np.asarray([[False, True], [True, True]]), threshold=0.5)
    assert [int(count) for count in counts] == [1, 2, 0, 1]


@pytest.mark.parametrize("ignore", [False, True])
def test_f1_of_rows_is_the_mean_of_scikit_learns(ignore):
    heatmap, mask = tie_free(2), mask_of(2, ignore=ignore)
    mask[3] = 0  # a row without object and, at the threshold below, without hit scores 0, as in the published code
    heatmap[3] = 0
    rows = []
    for h, m in zip(heatmap, mask, strict=True):
        valid, y = truth(m)
        rows.append(sk.f1_score(y, (h > 0.5)[valid], zero_division=0))
    assert float(metrics.f1(heatmap, mask, threshold=0.5, average="rows")) == pytest.approx(np.mean(rows), abs=1e-6)


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("heatmap", [tie_free(3), with_ties(3)], ids=["tie_free", "ties"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average_precision_equals_scikit_learn(heatmap, ignore, dtype):
    mask = mask_of(3, ignore=ignore)
    valid, y = truth(mask)
    with jax.enable_x64(dtype == "float64"):
        heatmap = heatmap.astype(dtype)
        scores = heatmap.reshape(-1)[valid]
        expected = {
            "foreground": sk.average_precision_score(y, scores),
            "mean_of_two": sk.average_precision_score(np.append(~y, y), np.append(1 - scores, scores)),
        }
        compute = compiled(metrics.average_precision, static_argnames="kind")
        ours = {kind: float(compute(heatmap, mask, kind=kind)) for kind in expected}
    assert ours == pytest.approx(expected, abs=2e-7 if dtype == "float32" else 1e-14)


def test_average_precision_of_a_full_size_map_in_float32():
    rng = np.random.default_rng(0)
    heatmap = np.asarray(
        compiled(maps.to_pixels, static_argnums=1)(rng.random((14, 14)).astype(np.float32), (224, 224))
    )
    mask = heatmap + rng.normal(size=heatmap.shape) > 0.8
    both = np.concatenate([1 - heatmap.reshape(-1), heatmap.reshape(-1)])
    expected = sk.average_precision_score(np.append(~mask, mask), both)
    assert abs(float(compiled(metrics.average_precision)(heatmap, mask)) - expected) < 2e-7


@pytest.mark.parametrize("name", MASKED)
def test_a_map_outside_the_unit_interval_is_refused_and_undefined_where_values_are_unknown(name):
    function = getattr(metrics, name)
    with pytest.raises(ConfigError, match=r"heatmap \[24, 16\]: values from 0 to 2, must be in \[0, 1\]"):
        function(tie_free() * 2, mask_of())
    assert np.isnan(jax.jit(function)(tie_free() * 2, mask_of()))


def test_pointing_game():
    heatmap, mask = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.uint8)
    heatmap[5, 5] = heatmap[9, 9] = 1  # a tie: the first pixel is the peak
    mask[9, 9] = 255
    assert metrics.pointing_game(heatmap, mask) == 0
    assert metrics.pointing_game(heatmap, mask, tolerance=5) == 0
    assert metrics.pointing_game(heatmap, mask, tolerance=6) == 1  # the distance is 5.66
    mask[5, 5] = 128
    assert metrics.pointing_game(heatmap, mask) == 1  # the peak among valid pixels


def test_energy_scores_equal_numpy():
    heatmap, mask = tie_free(4), mask_of(4, ignore=True)
    inside, valid = mask == 255, mask != 128
    assert float(metrics.energy_pointing_game(heatmap, mask)) == pytest.approx(
        heatmap[inside].sum() / heatmap[valid].sum(), abs=1e-6
    )
    hit = heatmap > 0.3 * heatmap[valid].max()
    scores = metrics.energy_scores(heatmap, mask, binarise=0.3)
    precision, recall = (hit & inside).sum() / (hit & valid).sum(), (hit & inside).sum() / inside.sum()
    f1 = 2 * precision * recall / (precision + recall + 1e-6)
    assert [float(score) for score in scores] == pytest.approx([precision, recall, f1], abs=1e-6)


@pytest.mark.parametrize("how", ["nearest", "centre", "area"])
@pytest.mark.parametrize("size", [(24, 16), (7, 9), (6, 4)])
def test_masks_on_the_grid_equal_loops(how, size):
    mask = np.random.default_rng(5).choice([0, 128, 255], size).astype(np.uint8)
    share, valid = share_on_grid(mask, GRID, how)
    for i in range(GRID[0]):
        for j in range(GRID[1]):
            if how == "area":
                object_area = valid_area = 0.0
                for y in range(size[0]):
                    for x in range(size[1]):
                        down = min((i + 1) * size[0] / GRID[0], y + 1) - max(i * size[0] / GRID[0], y)
                        across = min((j + 1) * size[1] / GRID[1], x + 1) - max(j * size[1] / GRID[1], x)
                        area = max(down, 0) * max(across, 0) * (mask[y, x] != 128)
                        valid_area, object_area = valid_area + area, object_area + area * (mask[y, x] == 255)
                assert bool(valid[i, j]) == (valid_area > 1e-9)
                expected = object_area / valid_area if valid_area > 1e-9 else 0
                assert float(share[i, j]) == pytest.approx(expected, abs=1e-5)
            else:
                shift = 0.5 if how == "centre" else 0
                value = mask[int((i + shift) * size[0] / GRID[0]), int((j + shift) * size[1] / GRID[1])]
                assert (bool(valid[i, j]), float(share[i, j])) == (value != 128, value == 255)


@pytest.mark.parametrize("how", ["nearest", "centre"])
def test_sampled_masks_equal_pillow_and_pytorch(how):
    image = pytest.importorskip("PIL.Image")
    torch = pytest.importorskip("torch")
    mask = mask_of(6)
    if how == "centre":
        expected = np.asarray(image.fromarray(mask).resize(GRID[::-1], image.Resampling.NEAREST))
    else:
        expected = torch.nn.functional.interpolate(torch.tensor(mask)[None, None].float(), GRID)[0, 0].numpy()
    np.testing.assert_array_equal(mask_on_grid(mask, GRID, how), expected)


def test_focus_equals_numpy():
    raw = np.random.default_rng(8).normal(size=GRID).astype(np.float32)
    mask = mask_of(8)
    share = (mask == 255).reshape(6, 4, 4, 4).mean(axis=(1, 3))
    positive = np.maximum(raw, 0).astype(np.float64)
    focus = metrics.focus(raw, mask, mask_to_grid="area")
    expected = (positive * share).sum() / positive.sum()
    assert (float(focus.faf), float(focus.baf)) == pytest.approx((expected, 1 - expected), abs=1e-6)
    signed = metrics.focus(raw, mask, mask_to_grid="centre", relu=False).faf
    assert float(signed) == pytest.approx((raw * (mask[2::4, 2::4] == 255)).sum() / raw.sum(), rel=1e-4)
    assert np.isnan(metrics.focus(-np.abs(raw), mask).faf)  # no positive relevance


def test_pixel_maps_are_pooled_for_the_grid():
    heatmap = tie_free(9)
    expected = heatmap.reshape(6, 4, 4, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(pooled(heatmap, GRID), expected, atol=1e-6)
    mask = mask_of(9)
    record = metrics.METRICS["iou"].record
    on_grid = record(case(heatmap, mask=mask), resolution="grid", threshold=0.5, mask_to_grid="centre")["value"]
    scaled = (expected - expected.min()) / (expected.max() - expected.min())
    expected_iou = sk.jaccard_score((mask[2::4, 2::4] == 255).reshape(-1), (scaled > 0.5).reshape(-1))
    assert float(on_grid) == pytest.approx(expected_iou, abs=1e-6)


KINDS = ["background", "foreground", "ignored", "one_kind_counts", "constant", "nan", "inf"]


@pytest.fixture(scope="module")
def undefined_columns():
    """Columns [KINDS] of each metric for undefined maps and masks."""
    heatmaps, masks = [], []
    for kind in KINDS:
        heatmap, mask = tie_free().copy(), mask_of()
        if kind in ("background", "foreground", "ignored"):
            mask = np.full(SIZE, {"background": 0, "foreground": 255, "ignored": 128}[kind], np.uint8)
        elif kind == "one_kind_counts":
            mask = np.where(mask == 0, 128, mask).astype(np.uint8)
        elif kind == "constant":
            heatmap = np.zeros_like(heatmap)
        else:
            heatmap[2:5, 2:7] = np.nan if kind == "nan" else np.inf
        heatmaps.append(heatmap)
        masks.append(mask)

    def measure(heatmap, mask):
        one = case(heatmap, mask=mask)
        return {
            name: [*metrics.METRICS[name].record(one).values(), jnp.asarray(getattr(metrics, name)(heatmap, mask))]
            for name in [*MASKED, "focus"]
        }

    return compiled(jax.vmap(measure))(np.stack(heatmaps), np.stack(masks))


@pytest.mark.parametrize("name", [*MASKED, "focus"])
def test_undefined_cases_give_nan(name, undefined_columns):
    for values in undefined_columns[name]:
        for kind, value in zip(KINDS, np.moveaxis(np.asarray(values), -1 if values.ndim == 1 else 0, 0), strict=True):
            assert np.isnan(value).all(), kind


def test_a_nan_map_does_not_affect_the_rest_of_the_batch():
    heatmaps = np.stack([tie_free(i) for i in range(3)])
    heatmaps[1, 0, 0] = np.nan
    batch = compiled(jax.vmap(metrics.average_precision, (0, None)))(heatmaps, mask_of())
    alone = [compiled(metrics.average_precision)(heatmaps[i], mask_of()) for i in (0, 2)]
    assert np.isnan(batch[1])
    np.testing.assert_array_equal(batch[jnp.asarray([0, 2])], alone)


def test_pooled_statistics_reduce_only_the_last_axis():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 100, size=(4, 3, 10)).astype(np.float64)
    mean_iou = pooled_mean_iou(*counts)
    for row in range(3):
        a, b, c, d = counts[:, row].sum(axis=-1)
        assert mean_iou[row] == pytest.approx((a / b + c / d) / 2)
    assert pooled_share(counts[0], counts[1]).shape == (3,)


def test_mean_iou_of_a_data_set_is_not_the_mean_over_images():
    record, statistic = metrics.METRICS["mean_iou"].record, metrics.METRICS["mean_iou"].figures({})[""]
    measure = compiled(lambda heatmap, mask: record(case(heatmap, mask=mask)))
    rows = [measure(tie_free(i), mask_of(i)) for i in range(4)]
    columns = [np.asarray([float(row[name]) for row in rows]) for name in statistic.columns]
    flat, masks = (np.concatenate([f(i).reshape(-1) for i in range(4)]) for f in (tie_free, mask_of))
    hit = np.concatenate([(tie_free(i) > tie_free(i).mean()).reshape(-1) for i in range(4)])
    assert flat.shape == hit.shape
    assert float(statistic.aggregate(*columns)) == pytest.approx(sk.jaccard_score(masks == 255, hit, average="macro"))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["uniform", "long tail", "ties at the mean", "crowded"])
def test_above_the_mean_is_exact(seed, kind):
    """Compared with rational arithmetic, for irregular maps and for maps with values at or near the mean."""
    rng = np.random.default_rng(seed)
    shape = (61, 83) if seed % 2 else (64, 64)
    values = rng.random(shape).astype(np.float32)
    if kind == "long tail":
        values = (values**12).astype(np.float32)
    elif kind == "ties at the mean":
        values = rng.choice(np.float32([0.1, 0.3, 0.5]), shape)
        values.flat[: values.size // 2] = 0.3
        values.flat[values.size // 2 :] = 0.3
        values.flat[0], values.flat[1] = np.float32(0.25), np.float32(2) * np.float32(0.3) - np.float32(0.25)
    elif kind == "crowded":  # neighbouring floats around the mean, which a rounded mean cannot separate
        values = np.float32(0.3) + rng.integers(-40, 40, shape).astype(np.float32) * np.float32(2**-25)
        away = 0.3 * rng.random(25)
        values.flat[:50] = np.float32(np.concatenate([0.3 + away, 0.3 - away]))
    total = sum(map(Fraction, values.ravel().tolist()))
    expected = [Fraction(value) * values.size > total for value in values.ravel().tolist()]
    above = np.asarray(jax.jit(lambda heatmap: above_threshold(heatmap, "mean"))(values)).ravel()
    np.testing.assert_array_equal(above, expected)
