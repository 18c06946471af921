"""Command lines over image files with names that are odd, equal or long."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vitjax.cli.main import main


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)).save(path, format="PNG")
    return path


def explain(out, *arguments):
    main(["explain", *map(str, arguments), "-o", str(out)])
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def test_outputs_of_one_command_do_not_overwrite_one_another(tmp_path):
    names = ("a.png", "a_2.png", "sub/a.png", "x.png", "x_grad.png", "x_raw.png")
    files = [picture(tmp_path / name, seed) for seed, name in enumerate(names)]
    out = tmp_path / "out"
    manifest = explain(out, *files, "--methods", "rollout", "grad_rollout", "raw_attention", "--sheets")
    written = [name for names in manifest["files"].values() for name in names]
    assert len(written) == 6 * 4 + 3 == len({name.casefold() for name in written})
    assert {path.name for path in out.iterdir()} == {*written, "predictions.csv", "manifest.json"}


def test_names_with_formulas_controls_and_other_bytes(tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"=cmd|' calc'!A0.png", b"\x1b]0;owned\x07x.png", b"caf\xe9.png", b"n" * 251 + b".png"):
        picture(folder / os.fsdecode(name))
    os.mkfifo(folder / "fifo.png")
    explain(tmp_path / "out", folder)  # a folder stands for its images
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        images = [row["image"] for row in csv.DictReader(stream)]
    assert sorted(images) == sorted(["'=cmd|' calc'!A0", "%1B]0;owned%07x", "caf%E9", "n" * 251])
    printed = capfd.readouterr()
    assert "\x1b" not in printed.out and "\x07" not in printed.out + printed.err
    assert "4 images; passed over: 1 FIFO" in printed.err
    assert len(list((tmp_path / "out").glob("*_rollout.png"))) == 3  # the long name ends in a digest
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


@pytest.mark.parametrize("name", ["fifo.png", "empty"])
def test_what_is_no_image_is_said_not_opened(name, tmp_path, capsys):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="1"):
        explain(tmp_path / "out", tmp_path / name)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ("is a FIFO" in error or "the folder contains no images" in error)


def test_output_is_whole_where_the_locale_is_not_utf8(tmp_path):
    plain = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "LANG": "C"}
    picture(tmp_path / "caf\xe9.png")
    for arguments in (["metrics"], ["explain", str(tmp_path / "caf\xe9.png"), "-o", str(tmp_path / "out")]):
        command = [sys.executable, "-W", "ignore", "-m", "vitjax", *arguments]
        process = subprocess.run(command, env=plain, capture_output=True, check=False)
        assert process.returncode == 0, process.stderr[-500:]
        assert process.stdout.isascii()
    assert (tmp_path / "out" / "caf\xe9_rollout.png").exists()


def test_what_a_folder_contains_beside_the_images_is_in_status_and_report(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"d\xe9")
    picture(folder / os.fsdecode(b"caf\xe9.png"))
    picture(folder / "b.png", seed=1)
    (folder / os.fsdecode(b"bad\xe9\n.png")).write_bytes(b"no image")
    (folder / "c.heic").touch()
    os.mkfifo(folder / "d.png")
    out = tmp_path / "run"
    options = ("--methods", "centre", "--metrics", "complexity", "--no-profile", "-o", str(out))
    main(["evaluate", "--data", f"folder:{folder}", *options])
    printed = capsys.readouterr()
    assert "3 images; passed over: 1 .heic, 1 FIFO" in printed.err
    assert "passed over in the folder of the data set: 1 .heic, 1 FIFO" in printed.out
    assert "bad\\xe9\\x0a.png: not an image" in printed.out
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    assert "1 .heic, 1 FIFO" in page
