import os
import threading

import numpy as np
import pytest

from tests.data.pictures import SMALL, numbered, pixels
from vitjax.data import decode as decode_module
from vitjax.data import retries
from vitjax.data.decode import decode
from vitjax.data.loader import default_workers, load_chunks
from vitjax.data.source import Raw
from vitjax.errors import ConfigError, ImageError

CHUNKS = [[0, 1, 2, 3, 4], [5], [], [19, 6, 7, 8, 9, 10, 11, 12, 13, 14], [18, 17, 16, 15]]


def processes():
    """Ids of the child processes that are alive, without joblib's, which stay idle for a while."""
    import multiprocessing

    children = multiprocessing.active_children()
    return {process.pid for process in children if "Loky" not in type(process).__name__}


def check(samples, source, chunk):
    """Check that the samples equal the results of `decode`, in the order of the chunk."""
    assert samples.index.tolist() == list(chunk)
    assert samples.index.dtype == np.int64
    assert samples.labels.dtype == np.int32
    assert samples.ids == tuple(source.ids[index] for index in chunk)
    assert samples.labels.tolist() == [source.labels[index] for index in chunk]
    assert samples.pixels.shape == (len(chunk), 32, 32, 3)
    for position, index in enumerate(chunk):
        expected = decode(source, index, SMALL)
        np.testing.assert_array_equal(samples.pixels[position], expected.pixels)
        np.testing.assert_array_equal(samples.masks[position], 128 if expected.mask is None else expected.mask)
        fields = (samples.status, samples.cause, samples.mask_state, samples.mode, samples.size, samples.notes)
        assert tuple(field[position] for field in fields) == expected[2:]


@pytest.mark.parametrize(
    "workers", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_every_image_is_loaded_once_and_in_order(workers):
    source = numbered(20)
    source.raws[8] = Raw(b"damaged")
    source.raws[17] = Raw(pixels(), np.zeros((50, 60), np.uint8))
    loaded = list(load_chunks(source, SMALL, CHUNKS, workers=workers))
    assert len(loaded) == len(CHUNKS)
    for samples, chunk in zip(loaded, CHUNKS, strict=True):
        check(samples, source, chunk)
    assert loaded[3].status[3] == "unreadable"
    assert loaded[4].status[1] == "mask_size"
    assert not processes()


def test_no_chunks_and_empty_chunks():
    for workers in (0, 2):
        assert list(load_chunks(numbered(3), SMALL, [], workers=workers)) == []
        assert [len(samples) for samples in load_chunks(numbered(3), SMALL, [[]], workers=workers)] == [0]


def test_at_most_ahead_chunks_are_decoded_before_they_are_requested():
    read, lock = [], threading.Lock()

    class Recorded(type(numbered(1))):
        def read(self, index):
            with lock:
                read.append(index)
            return super().read(index)

    source = Recorded(numbered(40).raws)
    chunks = [[4 * number + position for position in range(4)] for number in range(10)]
    iterator = load_chunks(source, SMALL, chunks, workers=0, ahead=3)
    for number, _ in enumerate(iterator):
        with lock:
            assert max(read) < 4 * (number + 1 + 3)
    assert sorted(read) == list(range(40))


def test_stopping_early_leaves_no_threads():
    before = threading.active_count()
    iterator = load_chunks(numbered(40), SMALL, [[i] for i in range(40)], workers=0)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("bad", [3, -1])
def test_index_outside_the_source_is_rejected(bad):
    with pytest.raises(ConfigError, match=f"chunk 1 contains image {bad}, but list:test has 3 images"):
        load_chunks(numbered(3), SMALL, [[0], [1, bad]], workers=0)


def test_invalid_settings_are_rejected():
    with pytest.raises(ConfigError, match="not -1 and 2"):
        load_chunks(numbered(3), SMALL, [[0]], workers=-1)
    with pytest.raises(ConfigError, match="not 0 and 0"):
        load_chunks(numbered(3), SMALL, [[0]], workers=0, ahead=0)


class Failing(type(numbered(1))):
    def read(self, index):
        if index == 5:
            raise RuntimeError("the disk\nis on fire")
        return super().read(index)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_error_of_a_failing_source_stops_the_run(workers):
    iterator = load_chunks(Failing(numbered(8).raws), SMALL, [[0, 1], [2, 3], [4, 5]], workers=workers)
    with pytest.raises(ImageError, match=r"^list:test: image 5 \(p5\): reading failed: RuntimeError: the disk"):
        list(iterator)
    assert not processes()


def test_default_workers(monkeypatch):
    for cores, workers in ((2, 0), (7, 0), (8, 6), (64, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert default_workers() == workers


def test_loader_uses_the_tested_decode():
    """The loader calls the function that the tests of `decode` test."""
    assert retries.decode is decode_module.decode
