"""Parity against PyTorch: every block's output and the logits of the same images through both."""

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


@dataclass(frozen=True)
class Difference:
    """One array of ours against PyTorch's."""

    name: str
    absolute: float  # max |ours - theirs|
    relative: float  # the same over max |theirs|


@dataclass(frozen=True)
class ParityReport:
    """Differences in the order of the forward pass; the last one is the logits."""

    differences: tuple[Difference, ...]
    tolerance: float  # on the relative differences

    @property
    def logits(self) -> Difference:
        return self.differences[-1]

    @property
    def passed(self) -> bool:
        """False for NaN, too."""
        return all(each.relative <= self.tolerance for each in self.differences)

    def __str__(self) -> str:
        rows = [f"{'':>10}  {'max |Δ|':>9}  {'relative':>9}"]
        rows += [f"{each.name:>10}  {each.absolute:9.2e}  {each.relative:9.2e}" for each in self.differences]
        verdict = "passed" if self.passed else "FAILED"
        rows.append(f"max |Δlogit| {self.logits.absolute:.2e}, tolerance {self.tolerance:.0e} relative: {verdict}")
        return "\n".join(rows)


def compare(model: Any, module: Any, images: np.ndarray, tolerance: float = TOLERANCE) -> ParityReport:
    """Run preprocessed images [b, H, W, 3] through a `vitjax.Model` and a timm module.

    The PyTorch module is put into eval mode and runs in its own dtype; ours at the highest matmul precision.
    Cost: one forward each, with every block's output kept.
    """
    theirs = _their_outputs(module, images)
    with jax.default_matmul_precision("highest"):
        blocks, logits = _batched_outputs(model.config)(model.params, images)
    ours = {f"block {layer}": blocks[:, layer] for layer in range(model.config.depth)} | {"logits": logits}
    return ParityReport(tuple(_difference(name, ours[name], theirs[name]) for name in ours), tolerance)


def verify(model: Any, arch: str, state: Any = None, *, images: int = 2, seed: int = 0) -> ParityReport:
    """Compare a `vitjax.Model` with timm on normal noise.

    Args:
      arch: the timm name the model claims to be.
      state: state dict (numpy) for the timm module; the model's own parameters, converted back, where it is None.
      images: number of random inputs; seed: theirs.
    """
    if state is None or huggingface.is_huggingface(state):  # timm does not know those names
        state = to_state(jax.tree.map(np.asarray, model.params))
    x = np.random.default_rng(seed).normal(size=(images, *model.config.image_size, 3)).astype(np.float32)
    return compare(model, timm_peer(model.config, state, arch), x)


def timm_peer(config: ViTConfig, state: Any, arch: str | None = None) -> Any:
    """A timm module in eval mode with this state dict (numpy), by timm's own name where it has one.

    Raises WeightsError if timm is not installed or does not take the state dict.
    """
    timm = import_timm()
    import torch
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    if arch is not None and timm.is_model(arch):
        # timm's own definition, so that a wrong entry of our zoo shows
        module = timm.create_model(arch, pretrained=False, num_classes=config.num_classes, img_size=config.image_size)
        for part in module.modules():
            if isinstance(part, torch.nn.LayerNorm) and config.norm_eps == huggingface.NORM_EPS:
                part.eps = config.norm_eps  # the one thing in which the same weights run otherwise there
    else:
        kind = VisionTransformerDistilled if config.distilled else VisionTransformer
        module = kind(**timm_arguments(config))
    try:
        module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    except RuntimeError as error:
        raise WeightsError(f"timm does not take the weights: {error}") from error
    return module.eval()


_schemas: list[Any] = []  # keeps torch's registration alive


def import_timm() -> Any:
    """timm, also where torchvision's compiled operators do not match torch: it then gets their schemas."""
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
        pass  # timm says itself what it misses
    try:
        import timm
    except ImportError as error:
        raise WeightsError("the comparison needs timm: pip install 'vitjax[torch]'") from error
    return timm


@lru_cache(maxsize=8)
def _batched_outputs(config: ViTConfig) -> Any:
    module = ViT(config)

    def one(params, image):
        logits, seen = module.apply({"params": params}, image, mutable=["intermediates"])
        return seen["intermediates"]["blocks"]["output"], logits

    return jax.jit(jax.vmap(one, in_axes=(None, 0)))


def _their_outputs(module: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    found: dict[str, np.ndarray] = {}

    def keep(name):
        return lambda _module, _inputs, output: found.__setitem__(name, output.double().numpy())

    hooks = [block.register_forward_hook(keep(f"block {i}")) for i, block in enumerate(module.blocks)]
    try:
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(next(module.parameters()).dtype)
        with torch.no_grad():
            found["logits"] = module.eval()(pixels).double().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _difference(name: str, ours: Any, theirs: np.ndarray) -> Difference:
    absolute = float(np.abs(np.asarray(ours, np.float64) - theirs).max())
    scale = float(np.abs(theirs).max()) or 1.0
    return Difference(name, absolute, absolute / scale)
