"""Worker processes: resources that they may use, and the behaviour when one dies."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.pictures import SMALL, numbered
from tests.data.test_loader import processes
from vitjax.data.loader import load_chunks
from vitjax.data.source import Raw
from vitjax.data.worker_pool import PIECE
from vitjax.errors import ImageError

CHUNKS = [list(range(start, start + 20)) for start in range(0, 60, 20)]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def processes_left(seconds=10.0):
    """The worker processes that have not ended after some seconds; one that was still starting ends on its own."""
    end = time.monotonic() + seconds
    while processes() and time.monotonic() < end:
        time.sleep(0.1)
    return processes()


@pytest.mark.parametrize(
    ("workers", "code"),
    [(2, 1), pytest.param(1, 3, marks=pytest.mark.slow), pytest.param(2, 0, marks=pytest.mark.slow)],
)
def test_error_of_a_dead_worker_names_the_image(workers, code):
    source = numbered(60, die={37: code})
    begin = time.monotonic()
    with pytest.raises(ImageError, match=r"^list:test: a loader worker died while decoding image 37 \(p37\)") as raised:
        list(load_chunks(source, SMALL, CHUNKS, workers=workers))
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begin < 60
    assert not processes_left()


@pytest.mark.slow
def test_error_of_a_killed_worker_names_the_image():
    class Slow(type(numbered(1))):
        def read(self, index):
            time.sleep(0.2)
            return super().read(index)

    iterator = load_chunks(Slow(numbered(60).raws), SMALL, CHUNKS, workers=2)
    next(iterator)
    os.kill(max(processes()), signal.SIGKILL)
    with pytest.raises(
        ImageError, match=r"list:test: a loader worker (died while decoding image|failed near images) \d+"
    ):
        list(iterator)
    assert not processes_left()


class Reporter(type(numbered(1))):
    """Images whose channels encode: JAX backend started, JAX restricted to the CPU, process id of the worker."""

    def read(self, index):
        import jax

        computing = bool(jax._src.xla_bridge._backends)
        platforms = jax.config.jax_platforms == "cpu" and os.environ["JAX_PLATFORMS"] == "cpu"
        return Raw(np.full((32, 32, 3), [int(computing), int(platforms), os.getpid() % 251], np.uint8))


@pytest.mark.slow
def test_workers_do_not_use_the_accelerator():
    (samples,) = load_chunks(Reporter(numbered(30).raws), SMALL, [range(30)], workers=2)
    started, cpu_only, pid = samples.pixels[:, 0, 0].T
    assert not started.any()
    assert cpu_only.all()
    assert len(set(pid.tolist())) == 2


@pytest.mark.slow
def test_at_most_ahead_chunks_and_a_few_pieces_are_decoded_early(tmp_path):
    reads = tmp_path / "reads"
    source = numbered(250, count_file=str(reads))
    chunks = [list(range(start, start + 25)) for start in range(0, 250, 25)]
    iterator = load_chunks(source, SMALL, chunks, workers=2, ahead=2)
    next(iterator)
    time.sleep(3)
    # The chunk that was returned, two more, and for each worker one piece in each of grain's buffers.
    assert len(reads.read_text().split()) <= 25 * 3 + 2 * 4 * PIECE
    iterator.close()


@pytest.mark.slow
def test_stopping_early_leaves_no_processes():
    iterator = load_chunks(numbered(60), SMALL, CHUNKS, workers=2, ahead=1)
    next(iterator)
    pids = processes()
    assert len(pids) == 2
    iterator.close()
    assert not processes_left()
    assert not any(map(alive, pids))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_workers_end_with_the_program(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing, signal, sys, time
        from tests.data.pictures import SMALL, numbered
        from vitjax.data.loader import load_chunks

        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes ignore SIGINT by default
            for samples in load_chunks(numbered(200), SMALL, [[i] for i in range(200)], workers=2):
                print(*[process.pid for process in multiprocessing.active_children()], flush=True)
                time.sleep(0.5)
    """)
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as run:
        # The first image may be ready before the second worker has started.
        pids = next(pids for line in run.stdout if len(pids := [int(pid) for pid in line.split()]) == 2)
        if how == signal.SIGINT:
            os.killpg(run.pid, how)  # to every process, as a terminal does
        else:
            run.kill()
        run.wait(timeout=120)
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(map(alive, pids))


@pytest.mark.slow
def test_error_of_a_script_without_main_guard_explains_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.data.pictures import SMALL, numbered\n"
        "from vitjax.data.loader import load_chunks\n"
        "list(load_chunks(numbered(4), SMALL, [[0, 1]], workers=1))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()
    assert any("the loader workers did not start" in line and "__main__" in line for line in last)
