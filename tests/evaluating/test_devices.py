"""Records do not depend on the number of devices, and devices do not communicate."""

import json

import pytest

from tests.evaluating.world import child, finish


@pytest.mark.slow
def test_one_two_and_eight_devices_give_the_same_records():
    """1 to 17 images on 1, 2 and 8 simulated devices, in one child process: each image has one record."""
    code = """
import jax, json, tempfile
assert jax.device_count() == 8
device_counts = []
for count in range(1, 18):
    runs = {}
    for devices in (1, 2, 8):
        out = Path(tempfile.mkdtemp()) / "run"
        runs[devices] = run(out, Pictures(count), devices=jax.devices()[:devices], batch_size=2, chunk_size=17)
        records = runs[devices].records()
        assert records["image_id"].to_pylist() == [f"picture{i:03d}" for i in range(count) for _ in METHODS]
        device_counts.append(runs[devices].store.logged()[0]["devices"])
    for devices in (2, 8):
        assert_same_records(runs[1].records(), runs[devices].records(), rtol=1e-5, atol=1e-5)
print(json.dumps(device_counts))
"""
    assert json.loads(finish(child(code, devices=8)).splitlines()[-1]) == [1, 2, 8] * 17


@pytest.mark.slow
def test_run_started_on_one_device_is_resumed_on_eight():
    """The records are equal up to 1e-5."""
    code = """
import jax, tempfile
out = Path(tempfile.mkdtemp())
one = run(out / "one", Pictures(18), devices=jax.devices()[:1])
two = run(out / "two", Pictures(18), devices=jax.devices()[:1])
for chunk, path in two.store.finished().items():
    if chunk % 2:
        path.unlink()
eight = run(out / "two", Pictures(18), devices=jax.devices(), batch_size=2)
assert [event["devices"] for event in eight.store.logged() if event["event"] == "started"] == [1, 8]
assert_same_records(one.records(), eight.records(), rtol=1e-5, atol=1e-5)
"""
    finish(child(code, devices=8))


@pytest.mark.slow
def test_communication_between_devices_is_rejected():
    """The check detects a program that communicates."""
    code = """
import jax, jax.numpy as jnp, numpy as np
from vitjax.errors import RunError
from vitjax.execution.devices import Devices
devices = Devices()
x = devices.cut(np.ones((16, 4), np.float32))
devices.compile(jax.jit(lambda x: x * 2), x)
try:
    devices.compile(jax.jit(lambda x: x - jax.lax.psum(x, "images")), x)
except RunError as error:
    assert "all-reduce" in str(error), error
else:
    raise AssertionError("not detected")
"""
    finish(child(code, devices=8))
