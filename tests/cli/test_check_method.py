"""check-method tells a sound method from a broken one."""

import jax.numpy as jnp
import pytest

from vitjax.cli.check_method import check_method
from vitjax.cli.main import main
from vitjax.errors import ConfigError
from vitjax.methods import METHODS
from vitjax.methods.contract import Method

pytestmark = pytest.mark.unoptimised


def verdicts(method):
    return {name: passed for name, passed, _ in check_method(method)}


@pytest.mark.parametrize("name", ["rollout", pytest.param("transformer_mm", marks=pytest.mark.slow)])
def test_sound_methods_pass(name):
    assert all(verdicts(METHODS[name]).values())
    assert "checked_method" not in METHODS


def broken(explain, **fields):
    return Method(title="broken", cite="test", cost="0", explain=explain, **fields)


def test_broken_methods_are_told_what_is_wrong():
    def transposed(config, params, image, target, *, key):
        return jnp.zeros(config.grid[::-1])

    def not_finite(config, params, image, target, *, key):
        return jnp.full(config.grid, jnp.nan)

    def blind(config, params, image, target, *, key):
        return jnp.arange(config.grid[0] * config.grid[1], dtype=jnp.float32).reshape(config.grid)

    assert not verdicts(broken(transposed))["shape"]
    assert not verdicts(broken(not_finite))["finite"]
    assert verdicts(broken(blind)) == {**verdicts(broken(blind, class_specific=False)), "targets": False}


def test_command_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["check-method", "vitjax.methods.rollout:METHOD"])
    assert "FAIL" not in capsys.readouterr().out
    for reference, message in [
        ("rollout", "module:name"),
        ("vitjax.methods.rollout:nothing", "has no nothing"),
        ("vitjax.methods.rollout:rollout", "is no vitjax.Method"),
        ("nowhere:METHOD", "nowhere"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check_method(reference)
