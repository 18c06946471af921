"""How the command `evaluate` ends: signals, full disks and chunks that are left open have exit codes of their own."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.data.pictures import save
from tests.evaluating.test_resume import finished_files, wait_until
from tests.test_storage import failing
from vitjax.cli.main import main
from vitjax.data import retries
from vitjax.evaluating.run import Run
from vitjax.rundir.locks import Slot

QUICK = ["--methods", "rollout", "--metrics", "complexity", "--no-profile"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("number", "code", "seconds"), [(signal.SIGTERM, 143, 10), (signal.SIGINT, 130, 2)])
def test_signals_end_a_run_that_can_be_resumed(number, code, seconds, workers, tmp_path):
    for index in range(64):
        save(tmp_path / "p" / f"{index}.png", seed=index)
    out = tmp_path / "run"
    command = ["evaluate", "--data", f"folder:{tmp_path / 'p'}", *QUICK, "--chunk-size", "2", "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "vitjax", *command, "--workers", str(workers)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(finished_files(out)) > 1)
    started = time.monotonic()
    os.killpg(process.pid, number)  # as Slurm and terminals do
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < seconds
    assert process.returncode == code and f"vitjax: stopped by {number.name}" in err and "Traceback" not in err
    with Slot(out, 0, 1):  # the lock is free
        kept = sorted(Run(out).store.finished())
    assert 2 <= len(kept) < 32 and not list(out.rglob(".*.tmp"))
    main([*command, "--no-report"])
    assert Run(out).finished


def test_chunks_that_are_left_open_are_exit_code_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(retries, "WAITS_S", ())
    for index in range(4):
        save(tmp_path / "p" / f"{index}.png", seed=index)
    command = [
        "evaluate",
        "--data",
        f"folder:{tmp_path / 'p'}",
        *QUICK,
        "--chunk-size",
        "2",
        "-o",
        str(tmp_path / "run"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", failing(errno.ESTALE))
        with pytest.raises(SystemExit) as ended:
            main(command)
    output = capsys.readouterr()
    assert ended.value.code == 3 and "2 chunks are left open; the same command evaluates them" in output.err
    assert "0 of 2 chunks done" in output.out
    main([*command, "--no-report"])
    assert "4 evaluated, 0 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("run.json", "run: cannot be written"),
        ("lock", "0-of-1"),
        ("records", "chunk-00000-"),
        ("manifest", "manifest.json"),
    ],
)
def test_full_disk_at_any_write_is_one_line_and_exit_code_1(what, name, tmp_path, monkeypatch, capsys):
    place = {
        "run.json": "vitjax.rundir.store.write_whole",
        "lock": "os.ftruncate",
        "records": "pathlib.Path.replace",
        "manifest": "vitjax.output.files.write_whole",
    }[what]
    monkeypatch.setattr(place, failing(errno.ENOSPC))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--data", "scenes:2", *QUICK, "-o", str(tmp_path / "run"), "--no-report"])
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "images" not in line]
    assert ended.value.code == 1
    assert len(lines) == 1 and "No space left on device" in lines[0] and name in lines[0]


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Exit codes: 0 all chunks" in text and "143" in text
