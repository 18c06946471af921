"""Examples of docstrings run, on the bundled model."""

import doctest
import importlib

import pytest

from tests.test_layout import MODULES

EXAMPLES = sorted(module for module, path in MODULES.items() if ">>> " in path.read_text())


SLOW = {"vitjax.evaluating.run"}


@pytest.mark.parametrize("module", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in EXAMPLES])
def test_examples_run(module):
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, attempted = doctest.testmod(importlib.import_module(module), optionflags=options)
    assert attempted and not failed


def test_the_public_functions_have_examples():
    assert {"vitjax.models.load", "vitjax.explaining.run", "vitjax.evaluating.run"} <= set(EXAMPLES)
