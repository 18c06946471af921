"""Environments that lack something: no home directory, platform, backend, locale, lock or writable directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitjax.data import loader

ONE = "import vitjax, numpy as np; model = vitjax.load('vitjax_scenes'); image = np.eye(64, dtype=np.uint8)[..., None]"
ONE += ".repeat(3, 2) * 255; "


def run(*arguments, cwd=None, before=(), **environment):
    """(exit code, standard output and error) of Python with these arguments."""
    inherited = {name: value for name, value in os.environ.items() if environment.get(name, "") is not None}
    process = subprocess.run(
        [*before, sys.executable, "-W", "ignore", *map(str, arguments)],
        env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path), **{k: v for k, v in environment.items() if v}},
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def nobody():
    """The command that runs another as a user without an entry in the password database."""
    command = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("user namespaces are not available")
    return command


def test_a_user_without_a_home_directory_can_explain(nobody):
    code, output = run("-c", ONE + "print(vitjax.explain(model, image).overlay(0).size)", before=nobody, HOME=None)
    assert code == 0 and "(64, 64)" in output, output


def test_the_cache_of_a_user_without_a_home_directory_is_off(monkeypatch):
    from vitjax.execution import compilation_cache

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache.Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    compilation_cache.enable.__wrapped__()


def test_a_tilde_that_stands_for_no_home_directory_is_an_error_of_one_line(monkeypatch):
    import vitjax
    from vitjax.data.open import open_data
    from vitjax.errors import ConfigError, WeightsError

    with pytest.raises(WeightsError, match=r"~nobody_here/w.safetensors: this user has no home directory"):
        vitjax.load("deit_tiny_patch16_224", "~nobody_here/w.safetensors")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("vitjax.data.tfds.Path.home", no_home)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(ConfigError, match="this user has no home directory: set TFDS_DATA_DIR"):
        open_data("tfds:cifar10:test", None, num_classes=10)


def test_a_platform_that_jax_lacks_is_an_error_of_one_line(picture, tmp_path):
    absent = "tpu" if Path("/dev/nvidia0").exists() else "cuda"
    code, output = run("-m", "vitjax", "explain", picture, "-o", tmp_path / "out", JAX_PLATFORMS=absent)
    assert code == 1 and "Traceback" not in output, output
    assert output.splitlines()[-1].startswith(f"vitjax: error: JAX cannot use the platform '{absent}'")
    assert not (tmp_path / "out").exists()


def test_a_variable_that_jax_cannot_read_is_an_error_of_one_line():
    code, output = run("-m", "vitjax", "methods", JAX_ENABLE_X64="banana")
    assert code == 1 and output.startswith("vitjax: error: JAX cannot start: ") and output.count("\n") == 1, output
    code, output = run("-m", "vitjax", "status", "nowhere", JAX_PLATFORM_NAME="banana")
    assert code == 1 and "nowhere: not a run directory" in output


def test_settings_that_search_faults_in_other_programs_are_no_problem(picture, tmp_path):
    settings = {"JAX_NUMPY_RANK_PROMOTION": "raise", "JAX_TRANSFER_GUARD": "disallow", "JAX_DEBUG_NANS": "1"}
    settings |= {"MPLBACKEND": "module://absent", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    methods = ("--methods", "rollout", "transformer_mm", "occlusion")
    code, output = run("-m", "vitjax", "explain", picture, *methods, "-o", tmp_path / "out", **settings)
    assert code == 0 and "Traceback" not in output, output[-1500:]


@pytest.mark.parametrize("backend", ["module://absent.backend", "nonsense"])
def test_pictures_need_no_display_backend(backend):
    code = (
        "from vitjax.plots.overlay import scheme; from vitjax.plots.backend import import_matplotlib; scheme('viridis')"
    )
    code += "; import matplotlib, os; print(os.environ['MPLBACKEND'])"
    assert run("-c", code, MPLBACKEND=backend) == (0, backend + "\n")


def test_a_display_backend_that_is_there_is_kept():
    code = "from vitjax.plots.overlay import scheme; scheme('viridis'); "
    code += "import matplotlib; print(matplotlib.rcParams['backend'])"
    assert run("-c", code, MPLBACKEND="svg") == (0, "svg\n")


def test_without_file_locks_everything_works_and_an_evaluation_warns(tmp_path):
    code = "import sys; sys.modules['fcntl'] = sys.modules['resource'] = None; " + ONE
    status, output = run("-c", code + "print(vitjax.explain(model, image).maps.shape)")
    assert status == 0 and "(1, 8, 8)" in output, output
    out = str(tmp_path / "run")
    status, output = run(
        "-c", code + f"vitjax.evaluate(model, 'scenes:2', ['rollout'], ['iou'], {out!r}, profile=False)"
    )
    assert status == 0 and "no file locks here" in output, output


def test_a_script_without_a_main_guard_decodes_in_threads(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loader, "_cores", lambda: 32)
    main = sys.modules["__main__"]
    for text, workers in (("evaluate()\n", 0), ("if __name__ == '__main__':\n    evaluate()\n", 16)):
        script = tmp_path / "script.py"
        script.write_text(text)
        monkeypatch.setattr(main, "__file__", str(script), raising=False)
        monkeypatch.setattr(main, "__spec__", None)
        assert loader.default_workers() == workers
        assert (f"decoding in threads: worker processes would run {script} again" in capsys.readouterr().err) == (
            not workers
        )
    monkeypatch.delattr(main, "__file__")
    assert loader.default_workers() == 16  # interactive


@pytest.mark.slow
def test_every_command_runs_without_home_locale_and_writable_directory(nobody, picture, tmp_path):
    readonly = tmp_path / "readonly"
    readonly.mkdir()
    (readonly / "my_methods.py").write_text("import vitjax\nmine = vitjax.METHODS['rollout']\n")
    vitjax = ("-m", "vitjax")
    commands = [
        (*vitjax, "--help"),
        (*vitjax, "methods"),
        (*vitjax, "models"),
        (*vitjax, "metrics"),
        (*vitjax, "explain", picture, "-o", tmp_path / "explain"),
        (*vitjax, "compare", picture, "-o", tmp_path / "compare", "--methods", "rollout", "random"),
        (*vitjax, "demo", "-o", tmp_path / "demo", "--scenes", 1, "--scored", 2),
        (*vitjax, "evaluate", "--data", "scenes:2", "--methods", "rollout", "--metrics", "iou", "-o", tmp_path / "run"),
        (*vitjax, "status", tmp_path / "run"),
        (*vitjax, "report", tmp_path / "run"),
        (*vitjax, "check-method", "my_methods:mine"),
    ]
    readonly.chmod(0o555)
    for command in commands:
        code, output = run(*command, cwd=readonly, before=nobody, HOME=None, XDG_CACHE_HOME=None, LC_ALL="C")
        assert code == 0 and "Traceback" not in output, f"{command}: {output[-1500:]}"
