"""How the command `evaluate` ends: signals, full disks and chunks that are left open have exit codes of their own."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    line = f"vitjax: stopped by {number.name}; what is finished is kept: run the same command again to resume {out}\n"
    assert process.returncode == code and err.endswith(line) and "Traceback" not in err
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


@pytest.mark.parametrize("suffix", ["profile.json", ".npz", "files.parquet"])
def test_full_disk_at_profile_maps_or_list_of_files_keeps_nothing_half_written(suffix, tmp_path, monkeypatch, capsys):
    for index in range(2):
        save(tmp_path / "p" / f"{index}.png", seed=index)
    command = ["evaluate", "--data", f"folder:{tmp_path / 'p'}", "--methods", "rollout", "--metrics", "complexity"]
    command += [
        "--model",
        "vitjax_scenes",
        "--save-maps",
        "float16",
        "-o",
        str(tmp_path / "run"),
        "--no-report",
        "--workers",
        "0",
    ]
    replace, link = Path.replace, os.link

    def full(write):
        def written(source, target, *more):
            if str(target).endswith(suffix):
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
            return write(source, target, *more)

        return written

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full(replace))
        patch.setattr(os, "link", full(link))
        with pytest.raises(SystemExit) as ended:
            main(command)
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "images" not in line]
    assert ended.value.code == 1 and len(lines) == 1, lines
    assert "No space left on device" in lines[0] and suffix in lines[0]
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.suffix in (".tmp", suffix[-5:])]
    assert not [name for name in left if name.endswith((suffix, ".tmp"))]
    main(command)
    assert Run(tmp_path / "run").finished and list((tmp_path / "run").rglob(f"*{suffix}"))


@pytest.mark.parametrize("what", ["explain", "compare", "report"])
def test_full_disk_while_pictures_are_written_is_one_line_and_leaves_no_part(what, tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.png", seed=0)
    out = tmp_path / "out"
    command = [what, str(tmp_path / "a.png"), "--model", "vitjax_scenes", "-o", str(out), "--methods", "rollout"]
    if what == "report":
        run = ["--metrics", "perturbation_auc", "--no-profile", "--no-report", "--workers", "0"]
        main(["evaluate", "--data", "scenes:2", "--methods", "rollout", *run, "-o", str(tmp_path / "run")])
        command = ["report", str(tmp_path / "run"), "-o", str(out)]
        capsys.readouterr()
    replace = Path.replace

    def full(source, target):
        if str(target).endswith(".png"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SystemExit) as ended:
        main(command)
    err = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 1 and "No space left on device" in err[-1] and ".png" in err[-1], err
    assert not [path for path in out.rglob("*") if path.suffix in (".tmp", ".png")]


def test_help_names_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Exit codes: 0 all chunks" in text and "143" in text


def test_after_ctrl_c_the_line_names_the_run_to_resume(tmp_path):
    """While the model is loaded; `test_signals_end_a_run_that_can_be_resumed` does so between chunks."""
    out = tmp_path / "run"
    code = """
import sys, time
from vitjax.cli import main, model_arguments
model_arguments.ModelArguments.load = lambda *_, **__: print("loading", flush=True) or time.sleep(60)
main.main()
"""
    command = [sys.executable, "-c", code, "evaluate", "--data", "scenes:4", "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    line = f"vitjax: stopped by SIGINT; what is finished is kept: run the same command again to resume {out}\n"
    assert (process.returncode, err) == (130, line)
