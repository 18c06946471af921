"""A Ray cluster of two workers gives the same records as the local engine, even if one worker is killed."""

import pytest

from tests.evaluating.world import child, finish

pytest.importorskip("ray", reason="the extra 'ray' is not installed")
pytestmark = pytest.mark.slow

CODE = """
import os, signal, sys, tempfile, threading, time
import ray
from vitjax.evaluating import ray_engine

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
out = Path(tempfile.mkdtemp())
local = run(out / "local", Pictures(18))
"""


def test_ray_gives_the_records_of_the_local_engine():
    finish(
        child(
            CODE
            + """
shared = run(out / "ray", Pictures(18), engine="ray")
started = [event for event in shared.store.logged() if event["event"] == "started"]
assert len(started) == 2, started
assert_same_records(local.records(), shared.records())
"""
        )
    )


def test_chunk_of_a_killed_worker_is_evaluated_by_a_new_one():
    code = """
out_ray = out / "ray"
def kill():
    while not list(out_ray.glob("records/chunk-*")):
        time.sleep(0.05)
    pids = [event["pid"] for event in RunStore.open(out_ray).logged() if event["event"] == "started"]
    os.kill(pids[0], signal.SIGKILL)
    killed.append(pids[0])
from vitjax.rundir.store import RunStore
killed = []
thread = threading.Thread(target=kill)
thread.start()
shared = run(out_ray, Pictures(18, pause=0.2), engine="ray")
thread.join()
started = [event["pid"] for event in shared.store.logged() if event["event"] == "started"]
assert killed and len(started) == 3, (killed, started)
assert_same_records(local.records(), shared.records())
"""
    process = child(CODE + code)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert "its worker was lost; a new worker evaluates it again" in err
