"""`weights_convert` in use: a checkpoint file in timm's names, vitjax's own format, and what does not fit."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cases import CONFIGS, tiny_model
from vitjax.errors import WeightsError
from weights_convert.checkpoint import read_checkpoint, write_checkpoint
from weights_convert.keys import flatten, to_params, to_state
from weights_convert.source import Wanted, read_source

MODEL = tiny_model("distilled")
CONFIG = MODEL.config
STATE = to_state(MODEL.params)


def assert_same(params):
    ours, theirs = flatten(params), flatten(MODEL.params)
    assert ours.keys() == theirs.keys()
    for path in theirs:
        np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)


def test_parameters_and_a_state_dict_in_timms_names_are_the_same_numbers():
    qkv = MODEL.params["blocks"]["attn"]["qkv"]["kernel"]  # [block, input, output]
    np.testing.assert_array_equal(STATE["blocks.2.attn.qkv.weight"], np.asarray(qkv)[2].T)
    patches = np.asarray(MODEL.params["patch_embed"]["proj"]["kernel"])  # [row, column, channel; output]
    np.testing.assert_array_equal(STATE["patch_embed.proj.weight"][5, 1, 2, 3], patches[(2 * 8 + 3) * 3 + 1, 5])
    assert STATE["dist_token"].shape == (1, 1, 24)
    assert_same(to_params(STATE, CONFIG))


def test_a_file_is_read_recorded_and_converted_to_a_directory(tmp_path):
    save_file(STATE, tmp_path / "tiny.safetensors")
    loaded = read_source(tmp_path / "tiny.safetensors", Wanted(CONFIG, "tiny"))
    assert_same(loaded.params)
    directory = write_checkpoint(tmp_path / "tiny", loaded.params, CONFIG, "tiny", {"path": "tiny.safetensors"})
    assert_same(read_checkpoint(directory).params)
    again = read_source(directory, Wanted())  # its manifest says what the model is
    assert again.config == CONFIG and again.arch == "tiny"
    assert (loaded.record["format"], again.record["format"]) == ("safetensors", "orbax")
    assert again.record["sha256"] == loaded.record["sha256"]  # the same weights, whatever the format
    file = max((directory / "arrays").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(directory)


def test_an_error_lists_every_key_that_does_not_fit_and_what_it_may_be(tmp_path):
    with pytest.raises(WeightsError) as caught:
        to_params({**STATE, "extra": np.zeros(3), "norm.bias": np.zeros(5)}, CONFIG)
    assert str(caught.value).splitlines()[1:] == [
        "  extra: extra [3]",
        "  misshaped: norm.bias is [5], needs [24]",
    ]
    save_file(STATE, tmp_path / "tiny.safetensors")
    with pytest.raises(WeightsError, match="distilled"):
        read_source(tmp_path / "tiny.safetensors", Wanted(CONFIGS["plain"], "plain", CONFIGS))
