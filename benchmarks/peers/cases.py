"""The timed cases of all peers, on the weights and images that vitjax gets in the same run.

Has no command of its own; `python -m benchmarks.speed`, `python -m benchmarks.relevance` and the section "peers" of
`python -m benchmarks.accelerator` time these cases.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.harness import BATCHED, CAPTUM, COMPILED, HOOKS, LEAN, MIB, Case
from benchmarks.peers import FOLDS, captum, hooks, relprop
from benchmarks.peers.batched import Batched
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from weights_convert.check import timm_peer
from weights_convert.keys import to_state


class Peers:
    """A model in PyTorch, on the device that JAX uses and with one thread per core.

    Args:
        model: the vitjax model, whose weights are copied.

    Raises:
        ValueError: the model's head does not read the class token.
    """

    def __init__(self, model: Model) -> None:
        config = model.config
        if not isinstance(config, ViTConfig) or config.pool != "token":
            raise ValueError(f"{model.name}: the peers need a head that reads the class token; pass --no-peers")
        torch.set_num_threads(os.cpu_count() or 1)
        cuda = jax.devices()[0].platform == "gpu" and torch.cuda.is_available()
        self.device, self.config = torch.device("cuda" if cuda else "cpu"), config
        dtype = torch.bfloat16 if model.dtype == jnp.bfloat16 else torch.float32
        params = jax.tree.map(lambda array: np.asarray(array, np.float32), model.params)
        self.plain = timm_peer(config, to_state({**params}), model.name).requires_grad_(False)
        self.batched = Batched(copy.deepcopy(self.plain).to(self.device, dtype))
        self.hooked = hooks.Hooked(copy.deepcopy(self.plain).to(self.device, dtype))
        self.compiled = Batched(self.batched.module, compiled=True) if cuda else None
        self.dtype = dtype

    def cases(self, what: str, x: Any, targets: np.ndarray) -> dict[str, Case]:
        """The cases of one computation, by implementation.

        Args:
            what: "logits", a method, or several methods of FOLDS joined by "+", each of which then runs its own pass.
            x: pixels [b, H, W, 3].
            targets: [b], the classes that the lean relevance propagation explains; all others explain the predicted
                class.

        Returns:
            Only implementations that have the computation; none for an unknown one.
        """
        pixels = torch.from_numpy(np.array(x, np.float32)).permute(0, 3, 1, 2).contiguous()
        pixels = pixels.to(self.device, self.dtype)
        count, one = len(pixels), pixels[:1]
        if what == "transformer_attribution":
            if self.device.type != "cpu" or self.dtype != torch.float32:
                return {}
            image, target = np.asarray(x[0], np.float32), int(targets[0])
            return {
                HOOKS: Case(lambda: relprop.published(self.hooked.module, self.config, one)),
                LEAN: Case(lambda: relprop.lean(self.plain, self.config, image, target)),
            }
        if what == "integrated_gradients":
            run = captum.integrated_gradients
            return {CAPTUM: self._case(lambda: run(self.batched.module, pixels), count)} if captum.available() else {}
        names = what.split("+")
        if not {*names} <= {"logits", *FOLDS}:
            return {}
        cases = {BATCHED: self._case(_run_methods(self.batched, names, pixels), count)}
        if len(names) == 1:
            cases[HOOKS] = self._case(_run_methods(self.hooked, names, one), 1)
        if self.compiled is not None:
            cases[COMPILED] = self._case(_run_methods(self.compiled, names, pixels), count)
        return cases

    def _case(self, run: Callable[[], Any], items: int) -> Case:
        """The case of a function. On a GPU a call waits for the GPU, and the allocator reports the memory."""
        if self.device.type == "cpu":
            return Case(run, items)

        def synchronised() -> Any:
            result = run()
            torch.cuda.synchronize()
            return result

        return replace(Case(synchronised, items), memory=lambda: _peak_memory(synchronised))


def _run_methods(peer: Any, names: list[str], pixels: torch.Tensor) -> Callable[[], Any]:
    return lambda: [getattr(peer, name)(pixels) for name in names]


def _peak_memory(run: Callable[[], Any]) -> float:
    """Peak MiB that a call allocates in addition to what was allocated before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return round((torch.cuda.max_memory_allocated() - before) / MIB, 3)
