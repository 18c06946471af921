"""A Ray cluster of two workers gives the same records as the local engine, even if one worker is killed."""

import re
import signal
import subprocess
import sys

import pytest

from tests.data.pictures import save
from tests.evaluating.test_resume import finished_files, wait_until
from tests.evaluating.world import assert_same_records, child, finish
from vitjax.cli.main import main
from vitjax.evaluating.run import Run
from vitjax.rundir.locks import Slot

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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_run_on_ray_that_can_be_resumed(number, code, tmp_path):
    for index in range(24):
        save(tmp_path / "p" / f"{index}.png", seed=index)
    out = tmp_path / "run"
    arguments = ["evaluate", "--data", f"folder:{tmp_path / 'p'}", "--methods", "rollout", "--metrics", "complexity"]
    arguments += ["--no-profile", "--no-report", "--chunk-size", "2", "-o", str(out)]
    command = [sys.executable, "-m", "vitjax", *arguments, "--engine", "ray"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(finished_files(out)) > 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err[-2000:]
    assert re.search(rf"vitjax: (stopped|ended at once) by {number.name}", err) and "Traceback" not in err, err[-2000:]
    with Slot(out, 0, 1):  # the lock is free
        pass
    assert len(finished_files(out)) >= 1 and not list(out.rglob("profile.json"))
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    main([*arguments[:-1], str(tmp_path / "local")])
    assert_same_records(Run(tmp_path / "local").records(), Run(out).records())
