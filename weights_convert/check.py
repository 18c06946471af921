"""Parity with PyTorch: compares the output of every block and the logits on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from weights_convert import huggingface
from weights_convert.keys import to_state
from weights_convert.peers import Peer, of_timm
from weights_convert.timm_module import import_timm, timm_peer

__all__ = ["Difference", "ParityReport", "compare", "compare_on_noise", "import_timm", "peer_of", "timm_peer"]

TOLERANCE = 1e-4
"""Largest difference relative to the largest value of an array that passes."""


@dataclass(frozen=True)
class Difference:
    """Difference between one array of vitjax and the same array of PyTorch."""

    name: str
    absolute: float  # max |vitjax - PyTorch|
    relative: float  # absolute / max |PyTorch|


@dataclass(frozen=True)
class ParityReport:
    """Differences in the order of the forward pass; the last one is of the logits."""

    differences: tuple[Difference, ...]
    tolerance: float  # on the relative differences
    peer: str = "timm"  # library, and class

    @property
    def logits(self) -> Difference:
        """The difference of the logits."""
        return self.differences[-1]

    @property
    def passed(self) -> bool:
        """Whether every relative difference is within the tolerance. A NaN does not pass."""
        return all(difference.relative <= self.tolerance for difference in self.differences)

    def __str__(self) -> str:
        lines = [f"compared with {self.peer}", f"{'':>10}  {'max |Δ|':>9}  {'relative':>9}"]
        lines += [f"{d.name:>10}  {d.absolute:9.2e}  {d.relative:9.2e}" for d in self.differences]
        verdict = "passed" if self.passed else "FAILED"
        lines.append(f"max |Δlogit| {self.logits.absolute:.2e}, tolerance {self.tolerance:.0e} relative: {verdict}")
        return "\n".join(lines)


def compare(model: Any, module: Any, images: np.ndarray, tolerance: float = TOLERANCE) -> ParityReport:
    """Compare a `vitjax.Model` with another implementation on the same images.

    Args:
        model: the `vitjax.Model`; runs at the highest matmul precision.
        module: a timm module, or a `Peer`; is put into eval mode and runs in its own dtype.
        images: preprocessed pixels [b, H, W, 3].
        tolerance: largest relative difference that passes.

    Cost: 1F of each, with the output of every block stored.
    """
    peer = module if isinstance(module, Peer) else of_timm(module)
    theirs = _torch_outputs(peer, images)
    with jax.default_matmul_precision("highest"):
        blocks, logits = _jax_outputs(model.config)(model.params, images)
    ours = {f"block {layer}": blocks[:, layer] for layer in range(model.config.depth)} | {"logits": logits}
    compared = [name for name in ours if name in theirs]
    return ParityReport(tuple(_difference(name, ours[name], theirs[name]) for name in compared), tolerance, peer.name)


def peer_of(model: Any, arch: str, state: Any = None, like: str | None = None) -> Any:
    """The timm module that computes the same as a `vitjax.Model`.

    Args:
        model: the `vitjax.Model`.
        arch: timm's name of the architecture that the model should be; another name if it has none.
        state: state dict (numpy) for the timm module; None converts the model's own parameters back.
        like: as for `timm_peer`.

    Raises:
        WeightsError: PyTorch or timm is not installed, or timm rejects the state dict.
    """
    if state is None or huggingface.is_huggingface(state):  # timm does not know Hugging Face's names
        state = to_state(jax.tree.map(np.asarray, model.params))
    return timm_peer(model.config, state, arch, like)


def compare_on_noise(model: Any, module: Any, images: int = 2, seed: int = 0) -> ParityReport:
    """`compare` on images of standard normal noise, of which there are `images`, drawn with `seed`."""
    noise = np.random.default_rng(seed).normal(size=(images, *model.config.image_size, 3))
    return compare(model, module, noise.astype(np.float32))


@lru_cache(maxsize=8)
def _jax_outputs(config: ViTConfig) -> Any:
    """Compiled (params, images [b, H, W, 3]) -> (outputs of the blocks [b, layer, token, c], logits [b, k])."""
    module = ViT(config)

    def one(params: Any, image: jax.Array) -> Any:
        logits, variables = module.apply({"params": params}, image, mutable=["intermediates"])
        return variables["intermediates"]["blocks"]["output"], logits

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def _torch_outputs(peer: Peer, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the blocks as "block 0", ... and "logits", in float64."""
    import torch

    outputs: dict[str, np.ndarray] = {}

    def store_as(name: str) -> Any:
        def store(_module: Any, _inputs: Any, output: Any) -> None:
            outputs[name] = (output[0] if isinstance(output, tuple) else output).double().numpy()

        return store

    hooks = [block.register_forward_hook(store_as(f"block {i}")) for i, block in enumerate(peer.blocks)]
    try:
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(next(peer.module.parameters()).dtype)
        peer.module.eval()
        with torch.no_grad():
            outputs["logits"] = peer.forward(pixels).double().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _difference(name: str, ours: Any, theirs: np.ndarray) -> Difference:
    absolute = float(np.abs(np.asarray(ours, np.float64) - theirs).max())
    scale = float(np.abs(theirs).max()) or 1.0
    return Difference(name, absolute, absolute / scale)
