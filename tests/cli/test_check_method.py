"""`check-method` accepts valid methods and reports what is wrong with invalid ones."""

import jax.numpy as jnp
import pytest

from vitjax.cli.check_method import check_method
from vitjax.cli.main import main
from vitjax.errors import ConfigError
from vitjax.methods import METHODS
from vitjax.methods.contract import Method

pytestmark = pytest.mark.unoptimised


def passed_checks(method):
    """Whether each check passed, by name."""
    return {name: passed for name, passed, _ in check_method(method)}


@pytest.mark.parametrize("name", ["rollout", pytest.param("transformer_mm", marks=pytest.mark.slow)])
def test_valid_methods_pass(name):
    assert all(passed_checks(METHODS[name]).values())
    assert "checked_method" not in METHODS


def method_of(explain, **fields):
    return Method(title="invalid", cite="test", cost="0", explain=explain, **fields)


def test_invalid_methods_fail_the_matching_check():
    def transposed(config, params, image, target, *, key):
        return jnp.zeros(config.grid[::-1])

    def not_finite(config, params, image, target, *, key):
        return jnp.full(config.grid, jnp.nan)

    def same_for_all_classes(config, params, image, target, *, key):
        return jnp.arange(config.grid[0] * config.grid[1], dtype=jnp.float32).reshape(config.grid)

    assert not passed_checks(method_of(transposed))["shape"]
    assert not passed_checks(method_of(not_finite))["finite"]
    class_agnostic = passed_checks(method_of(same_for_all_classes, class_specific=False))
    assert passed_checks(method_of(same_for_all_classes)) == {**class_agnostic, "targets": False}


def test_command_prints_checks_and_rejects_bad_references(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["check-method", "vitjax.methods.rollout:METHOD"])
    assert "FAIL" not in capsys.readouterr().out
    for reference, message in [
        ("rollout", "module:name"),
        ("vitjax.methods.rollout:nothing", "has no nothing"),
        ("vitjax.methods.rollout:rollout", "is not a vitjax.Method"),
        ("nowhere:METHOD", "nowhere"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check_method(reference)
