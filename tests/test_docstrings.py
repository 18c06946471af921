"""Examples of docstrings run, on the bundled model, and every public name has one."""

import doctest
import importlib
import inspect
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.test_layout import MODULES
from tests.torch_peer import import_timm
from vitjax.data.scenes import scene
from vitjax.explaining.map_batch import MapBatch

pytestmark = pytest.mark.unoptimised

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples_of(module):
    """The docstrings of a module that have examples, by name."""
    found = doctest.DocTestFinder().find(importlib.import_module(module), globs={})
    return {each.name: (module, each) for each in found if each.examples}


EXAMPLES = {
    name: example
    for module, path in sorted(MODULES.items())
    if ">>> " in path.read_text()
    for name, example in examples_of(module).items()
}
"""(module, examples) of each docstring that has examples, by its name."""

SLOW = (
    *("vitjax.evaluating.run", "vitjax.models.load.from_timm", "vitjax.methods.attention_flow"),
    *("vitjax.methods.integrated_gradients", "vitjax.methods.lrp", "vitjax.methods.meaningful_perturbation"),
    "vitjax.methods.tam",
)
"""What the names of slow examples begin with."""

FIRST = {
    "vitjax.explaining.map_batch": "vitjax.explaining.map_batch.MapBatch",
    "vitjax.explaining.explanation": "vitjax.explaining.explanation.Explanation",
    "vitjax.evaluating.run": "vitjax.evaluating.run.evaluate",
}
"""The example that the others of a module go on from."""


@cache
def names_in(module):
    """What the examples of a module find: the names that `vitjax.methods` lists, and those of the first example."""
    if module not in FIRST:
        model = vitjax.load("vitjax_scenes")
        return {"vitjax": vitjax, "np": np, "jnp": jnp, "jax": jax, "model": model, "image": scene(3).image}
    names = dict(names_in("vitjax.methods"))
    exec("".join(example.source for example in EXAMPLES[FIRST[module]][1].examples), names)
    return names


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(SLOW)) for name in EXAMPLES]
)
def test_examples_run(name, registries):
    module, example = EXAMPLES[name]
    if "import timm" in example.docstring:
        import_timm()
    example.globs = dict(names_in(module))
    messages = []
    doctest.DocTestRunner(verbose=False, optionflags=OPTIONS).run(example, out=messages.append)
    assert not messages, "".join(messages)


WITHOUT = {"METHODS", "METRICS"}
"""Registries: dicts, which have no docstring of their own."""


def has_example(documented):
    return f"{documented.__module__}.{documented.__qualname__}" in EXAMPLES


def test_methods_and_metrics_have_examples():
    functions = {name: method.definition for name, method in vitjax.METHODS.items()}
    functions |= {name: metric.function for name, metric in vitjax.METRICS.items()}
    assert not [name for name, function in functions.items() if not has_example(function)]


def test_public_names_have_examples():
    assert not [name for name in vitjax.__all__ if name not in WITHOUT and not has_example(getattr(vitjax, name))]
    functions = {name: getattr(vitjax.metrics, name) for name in vitjax.metrics.__all__}
    assert not [name for name, each in functions.items() if inspect.isfunction(each) and not has_example(each)]


@pytest.mark.parametrize("public", [vitjax.Explanation, MapBatch, vitjax.Model, vitjax.Run])
def test_public_methods_have_examples(public):
    functions = {name: each for name, each in vars(public).items() if inspect.isfunction(each) and name[0] != "_"}
    assert functions and not [name for name, each in functions.items() if not has_example(each)]
