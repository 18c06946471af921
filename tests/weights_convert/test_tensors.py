"""The gate for tensors: floating-point numbers that are finite in the dtype of the model, everything else an error."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import ARCH, named_in_table, torch
from vitjax.errors import WeightsError

save_torch = pytest.importorskip("safetensors.torch").save_file


@pytest.fixture
def state(monkeypatch):
    return {key: value.detach() for key, value in named_in_table(monkeypatch).state_dict().items()}


def error_of(path):
    with pytest.raises(WeightsError) as caught:
        vitjax.load(ARCH, weights=path)
    assert str(path) in str(caught.value)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("kind", "convert", "said"),
    [
        ("int8", lambda a: (10 * a).to(torch.int8), "its scale is unknown; dequantise"),
        ("int64", lambda a: a.long(), "dequantise"),
        ("bool", lambda a: a > 0, "tensor.float()"),
        ("complex64", lambda a: a + 1j, "tensor.real"),
        ("float8_e4m3fn", lambda a: a.to(torch.float8_e4m3fn), "dequantise"),
        ("float8_e5m2", lambda a: a.to(torch.float8_e5m2), "dequantise"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_tensors_of_other_dtypes_are_refused_with_the_way_to_convert_them(state, tmp_path, suffix, kind, convert, said):
    path = tmp_path / f"w{suffix}"
    changed = {**state, "norm.weight": convert(state["norm.weight"])}
    save_torch(changed, path) if suffix == ".safetensors" else torch.save(changed, path)
    text = error_of(path)
    assert text.startswith(f": 'norm.weight' is {kind}") and said in text and len(text.splitlines()) <= 3


@pytest.mark.parametrize(
    ("kind", "convert", "said"),
    [
        ("sparse (sparse_coo)", lambda a: a.to_sparse(), "tensor.to_dense()"),
        ("a meta tensor", lambda a: a.to("meta"), "has a shape but no values"),
        ("quantised", lambda a: torch.quantize_per_tensor(a, 0.1, 0, torch.qint8), "dequantise"),
        ("complex64", lambda a: (a + 1j).conj(), "tensor.real"),
    ],
)
def test_tensors_without_plain_numbers_are_refused(state, tmp_path, kind, convert, said):
    path = tmp_path / "w.pth"
    torch.save({**state, "norm.weight": convert(state["norm.weight"])}, path)
    text = error_of(path)
    assert text.startswith(f": 'norm.weight' is {kind}") and said in text and len(text.splitlines()) <= 3


def test_views_of_complex_numbers_are_read_as_the_numbers_that_they_show(state, tmp_path):
    imaginary = (torch.randn(16) + 1j * torch.arange(16)).conj().imag  # its negative is what lies in memory
    assert imaginary.is_neg()
    torch.save({**state, "norm.weight": imaginary}, tmp_path / "w.pth")
    scale = vitjax.load(ARCH, weights=tmp_path / "w.pth").params["norm"]["scale"]
    np.testing.assert_array_equal(scale, -np.arange(16))


def test_bfloat16_in_safetensors_is_read(state, tmp_path):
    half = {key: value.bfloat16() for key, value in state.items()}
    save_torch(half, tmp_path / "w.safetensors")
    model = vitjax.load(ARCH, weights=tmp_path / "w.safetensors")
    np.testing.assert_array_equal(model.params["norm"]["scale"], half["norm.weight"].float().numpy())


def test_values_beyond_the_range_of_the_model_are_refused(state, tmp_path):
    arrays = {key: value.numpy() for key, value in state.items()}
    path = tmp_path / "w.safetensors"
    large = np.ones(16)
    large[:3] = 1e200, -1e39, np.inf
    save_file({**arrays, "norm.weight": large}, path)
    text = error_of(path)
    assert "norm.weight: 0 NaN, 1 Inf of 16" in text
    assert "norm.weight: 2 of 16 are too large for float32" in text
    save_file({**arrays, "norm.weight": np.full(16, 3.4e38, np.float32)}, path)
    assert np.isfinite(vitjax.load(ARCH, weights=path).params["norm"]["scale"]).all()
    with pytest.raises(WeightsError, match="16 of 16 are too large for bfloat16"):
        vitjax.load(ARCH, weights=path, dtype="bfloat16")


def test_live_module_without_values_is_refused(monkeypatch):
    module = named_in_table(monkeypatch).to("meta")
    with pytest.raises(WeightsError, match="'cls_token' is a meta tensor"):
        vitjax.from_timm(module)
