"""Signals end a process soon, whatever its main thread does."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vitjax.execution import starting, stopping

CODE = """
import ctypes, signal, sys, time
from vitjax.execution import stopping
stopping.GRACE_S = {"SIGTERM": 60.0, "SIGINT": 0.2}
def block():  # locks a mutex twice, which no signal interrupts, as if a program were being compiled
    mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    print("ready", flush=True)
    libc.pthread_mutex_lock(mutex), libc.pthread_mutex_lock(mutex)
def wait():
    print("ready", flush=True)
    time.sleep(60)
with stopping.SignalsEndThis() as signals:
    RESUMES
    try:
        HERE()
    except stopping.Stopped as error:
        print("cleaned up after", error, signals.exit_code, flush=True)
        SECOND
        sys.exit(signals.exit_code)
"""


def child(here, second="pass", resumes="pass"):
    code = CODE.replace("HERE", here).replace("SECOND", second).replace("RESUMES", resumes)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_first_signal_lets_the_program_clean_up(number, code):
    process = child("wait")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (code, "") and out == f"cleaned up after {number.name} {code}\n"


def test_a_main_thread_that_runs_no_handler_is_ended_after_the_time_of_grace():
    process = child("block", resumes="stopping.resumes('runs/x')")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == (
        "\nvitjax: ended at once by SIGINT (did not end within 0.2 s); what is finished is kept: "
        "run the same command again to resume runs/x\n"
    )


@pytest.mark.parametrize("here", ["block", "wait"])
def test_second_signal_ends_at_once(here):
    process = child(here, second="block()")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err.endswith("ended at once by SIGTERM (again); what is finished is kept\n")


def test_handlers_are_restored_and_set_again_for_libraries_that_replace_them():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.SignalsEndThis() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stopping.keep_handlers()
        assert signal.getsignal(signal.SIGTERM) == signals._on_signal
    assert signal.getsignal(signal.SIGTERM) == before
    stopping.keep_handlers()
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_ignored_signal_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.SignalsEndThis():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("module", ["jax", "tyro"])
def test_signals_while_the_command_is_imported_end_it_with_one_line(number, code, module, tmp_path):
    # Imports of this module wait, so that the signal comes while they are under way.
    (tmp_path / f"{module}.py").write_text("import sys, time; print('importing', flush=True); time.sleep(30)")
    command = [sys.executable, "-m", "vitjax", "demo", "-o", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert err == f"vitjax: stopped by {number.name} before it began\n"
    assert not (tmp_path / "out").exists()


def test_programs_that_import_vitjax_keep_their_handlers(monkeypatch):
    assert signal.getsignal(signal.SIGINT) is not starting._end
    for argv, original, expected in (
        (["/usr/bin/vitjax", "demo"], ["python", "/usr/bin/vitjax", "demo"], True),
        (["-m", "demo"], ["python", "-W", "ignore", "-m", "vitjax", "demo"], True),
        (["-m"], ["python", "-m", "pytest"], False),
        (["train.py", "vitjax"], ["python", "train.py", "vitjax"], False),
        ([""], ["python"], False),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", original)
        assert starting.is_the_command() is expected, argv
    monkeypatch.setattr(sys, "argv", ["vitjax"])
    monkeypatch.setattr("multiprocessing.process.parent_process", lambda: object())
    assert not starting.is_the_command()


def test_the_semaphores_of_an_ended_process_leave_no_warnings():
    code = (
        "import multiprocessing, os\n"
        "from vitjax.execution import stopping\n"
        "kept = multiprocessing.get_context('spawn').Semaphore(1)\n"
        "stopping._release_semaphores()\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
