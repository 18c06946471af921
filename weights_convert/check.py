"""Parity with PyTorch: compares the output of every block and the logits on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from vitjax.errors import WeightsError
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from weights_convert import huggingface
from weights_convert.keys import to_state
from weights_convert.live import timm_arguments

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

    @property
    def logits(self) -> Difference:
        """The difference of the logits."""
        return self.differences[-1]

    @property
    def passed(self) -> bool:
        """Whether every relative difference is within the tolerance. A NaN does not pass."""
        return all(difference.relative <= self.tolerance for difference in self.differences)

    def __str__(self) -> str:
        lines = [f"{'':>10}  {'max |Δ|':>9}  {'relative':>9}"]
        lines += [f"{d.name:>10}  {d.absolute:9.2e}  {d.relative:9.2e}" for d in self.differences]
        verdict = "passed" if self.passed else "FAILED"
        lines.append(f"max |Δlogit| {self.logits.absolute:.2e}, tolerance {self.tolerance:.0e} relative: {verdict}")
        return "\n".join(lines)


def compare(model: Any, module: Any, images: np.ndarray, tolerance: float = TOLERANCE) -> ParityReport:
    """Compare a `vitjax.Model` with a timm module on the same images.

    Args:
        model: the `vitjax.Model`; runs at the highest matmul precision.
        module: the timm module; is put into eval mode and runs in its own dtype.
        images: preprocessed pixels [b, H, W, 3].
        tolerance: largest relative difference that passes.

    Cost: 1F of each, with the output of every block stored.
    """
    theirs = _torch_outputs(module, images)
    with jax.default_matmul_precision("highest"):
        blocks, logits = _jax_outputs(model.config)(model.params, images)
    ours = {f"block {layer}": blocks[:, layer] for layer in range(model.config.depth)} | {"logits": logits}
    return ParityReport(tuple(_difference(name, ours[name], theirs[name]) for name in ours), tolerance)


def verify(model: Any, arch: str, state: Any = None, *, images: int = 2, seed: int = 0) -> ParityReport:
    """Compare a `vitjax.Model` with timm on images of standard normal noise.

    Args:
        model: the `vitjax.Model`.
        arch: timm's name of the architecture that the model should be.
        state: state dict (numpy) for the timm module; None converts the model's own parameters back.
        images: number of random images.
        seed: seed of the random images.

    Raises:
        WeightsError: PyTorch or timm is not installed, or timm rejects the state dict.
    """
    if state is None or huggingface.is_huggingface(state):  # timm does not know Hugging Face's names
        state = to_state(jax.tree.map(np.asarray, model.params))
    x = np.random.default_rng(seed).normal(size=(images, *model.config.image_size, 3)).astype(np.float32)
    return compare(model, timm_peer(model.config, state, arch), x)


def timm_peer(config: ViTConfig, state: Any, arch: str | None = None) -> Any:
    """A timm module in eval mode with the given weights.

    Args:
        config: the architecture.
        state: state dict (numpy) with timm's names.
        arch: timm's name of the architecture. Where timm has it, the module is timm's definition of it; otherwise, and
            for None, the module is built from `config`.

    Raises:
        WeightsError: PyTorch or timm is not installed, or timm rejects the state dict.
    """
    timm = import_timm()
    import torch
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    if arch is not None and timm.is_model(arch):
        # Built by name and not from `config`, so that a wrong entry in vitjax's list of architectures is detected.
        module = timm.create_model(arch, pretrained=False, num_classes=config.num_classes, img_size=config.image_size)
        for part in module.modules():
            if isinstance(part, torch.nn.LayerNorm) and config.norm_eps == huggingface.NORM_EPS:
                part.eps = config.norm_eps  # the only respect in which Hugging Face computes differently from timm
    else:
        module_class = VisionTransformerDistilled if config.distilled else VisionTransformer
        module = module_class(**timm_arguments(config))
    try:
        module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    except RuntimeError as error:
        raise WeightsError(f"timm rejects the weights: {error}") from error
    return module.eval()


_schemas: list[Any] = []  # a torch Library removes its operators when it is garbage-collected


def import_timm() -> Any:
    """The timm package.

    If torchvision's compiled operators do not match the installed torch, importing torchvision, and so timm, fails.
    The schemas of these operators are then registered here, which is all that the import needs.

    Raises:
        WeightsError: PyTorch or timm is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError("the comparison needs PyTorch and timm: pip install 'vitjax[torch]'") from error
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _schemas.append(library)
    except ImportError:
        pass  # timm's own ImportError names the missing package
    try:
        import timm
    except ImportError as error:
        raise WeightsError("the comparison needs timm: pip install 'vitjax[torch]'") from error
    return timm


@lru_cache(maxsize=8)
def _jax_outputs(config: ViTConfig) -> Any:
    """Compiled (params, images [b, H, W, 3]) -> (outputs of the blocks [b, layer, token, c], logits [b, k])."""
    module = ViT(config)

    def one(params: Any, image: jax.Array) -> Any:
        logits, variables = module.apply({"params": params}, image, mutable=["intermediates"])
        return variables["intermediates"]["blocks"]["output"], logits

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def _torch_outputs(module: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of the blocks as "block 0", ... and "logits", in float64."""
    import torch

    outputs: dict[str, np.ndarray] = {}

    def store_as(name: str) -> Any:
        return lambda _module, _inputs, output: outputs.__setitem__(name, output.double().numpy())

    hooks = [block.register_forward_hook(store_as(f"block {i}")) for i, block in enumerate(module.blocks)]
    try:
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(next(module.parameters()).dtype)
        with torch.no_grad():
            outputs["logits"] = module.eval()(pixels).double().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _difference(name: str, ours: Any, theirs: np.ndarray) -> Difference:
    absolute = float(np.abs(np.asarray(ours, np.float64) - theirs).max())
    scale = float(np.abs(theirs).max()) or 1.0
    return Difference(name, absolute, absolute / scale)
