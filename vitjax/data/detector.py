"""Object masks from a detector: `python -m vitjax.data.detector DIR -o MASKS`, once per folder (extra `torch`)."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from vitjax.data.checks import unique_ids
from vitjax.data.files import find_images, mask_stems
from vitjax.errors import ConfigError, ImageError, OutputError, VitjaxError, WeightsError
from vitjax.images.reading import load_image

# uint8 [h, w, 3] -> (scores float [n], masks float [n, h, w] in 0..1), one row per detected instance.
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def mask_rcnn(weights: Path | None = None, device: str = "cpu") -> Detect:
    """torchvision's Mask R-CNN (ResNet-50 FPN), trained on COCO.

    Args: weights: a .pth or .safetensors state dict; None: torchvision's COCO_V1 from its hub. device: torch's name.
    Raises: WeightsError naming the file and the cause; ConfigError where torchvision is not usable.
    Cost: about 3 s per photograph on two cores, 0.05 s on a GPU.
    """
    try:
        import torch
        from torchvision.models import detection
    except Exception as cause:  # a torchvision that does not fit torch raises all sorts
        raise ConfigError(f"the detector needs torch and torchvision (pip install vitjax[torch]): {cause}") from cause
    default = detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        if weights is None:
            model = detection.maskrcnn_resnet50_fpn(weights=default)
        else:
            state = _state(torch, weights)
            model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
            model.load_state_dict(state)
    except WeightsError:
        raise
    except Exception as cause:
        where = weights if weights is not None else f"{default.url} (give --weights FILE where there is no network)"
        raise WeightsError(f"{where}: not usable for Mask R-CNN: {' '.join(str(cause).split())[:300]}") from cause
    return as_detect(model.to(device).eval(), device)


def as_detect(model: Any, device: str = "cpu") -> Detect:
    """A torchvision detection model as a plain function of one picture."""
    import torch

    def detect(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(device).float() / 255
        with torch.inference_mode():
            found = model([picture])[0]
        return found["scores"].cpu().numpy(), found["masks"][:, 0].cpu().numpy()

    return detect


def union_mask(scores: np.ndarray, masks: np.ndarray, score: float) -> np.ndarray:
    """Union of the instances with a score above `score`, inside where their mask is above 0.5.

    Args: scores [n]; masks [n, h, w], 0..1. Returns: uint8 [h, w]: 255 object, 0 background.
    """
    inside = (masks[scores > score] > 0.5).any(axis=0)
    return np.where(inside, 255, 0).astype(np.uint8)


def write_masks(
    folder: Path, out: Path, detect: Detect, *, score: float = 0.5, settings: dict[str, Any] | None = None
) -> tuple[int, int]:
    """Write `out/<stem>.png` for every picture of `folder`; what is there already is kept, so a stopped run goes on.

    Args:
      folder: pictures, or a folder with `images/` in it.
      detect: finds the instances of a picture.
      score: instances at or below it are left out.
      settings: what else the masks depend on; a folder made with other settings is refused.

    Returns: masks there now, pictures that could not be read (named on stderr, without a mask).
    Raises: ImageError, ConfigError, OutputError naming file and cause.
    """
    if not 0 <= score <= 1:
        raise ConfigError(f"score must lie in 0..1, not {score}")
    pictures = folder / "images" if (folder / "images").is_dir() else folder
    own = (out.resolve(), (pictures / "masks").resolve())
    images = [path for path in find_images(pictures) if not any(path.resolve().is_relative_to(each) for each in own)]
    if not images:
        raise ImageError(f"{pictures}: no pictures in it")
    ids = unique_ids([path.relative_to(pictures).as_posix() for path in images], str(pictures))
    _claim(out, {**(settings or {}), "score": score, "mask": 0.5})
    written = 0
    for image, stem in zip(tqdm(images, unit=" pictures", file=sys.stderr), mask_stems(images, ids), strict=True):
        path = out / f"{stem}.png"
        if not path.is_file():
            try:
                pixels = load_image(image).pixels
            except ImageError as cause:
                print(f"skipped: {cause}", file=sys.stderr)
                continue
            _save(path, union_mask(*detect(pixels), score))
        written += 1
    return written, len(images) - written


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    weights: Path | None = None,
    score: float = 0.5,
    device: str = "cpu",
) -> None:
    """Write object masks that a Mask R-CNN finds, one PNG per picture: 255 object, 0 background.

    Args:
      folder: pictures.
      out: folder of masks; masks that are there already are kept.
      weights: state dict of torchvision's maskrcnn_resnet50_fpn; its COCO weights otherwise.
      score: instances at or below this score are left out.
      device: torch's name of the device.
    """
    settings = {"weights": "COCO_V1" if weights is None else _sha256(weights)}
    written, skipped = write_masks(folder, out, mask_rcnn(weights, device), score=score, settings=settings)
    print(f"{out}  {written} masks, {skipped} pictures skipped")


def _state(torch: Any, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)  # a pickle that wants to run code is refused


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or see that its masks were made with the same settings."""
    note = out / "detector.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if note.is_file():
            before = json.loads(note.read_text(encoding="utf-8"))
            differing = [key for key in settings if before.get(key) != settings[key]]
            if differing:
                key = differing[0]
                raise ConfigError(f"{out}: its masks were made with {key}={before.get(key)}, not {settings[key]}")
            return
        _replace(note, json.dumps(settings).encode())
    except (OSError, ValueError) as cause:
        raise OutputError(f"{out}: cannot be used for masks: {cause}") from cause


def _save(path: Path, mask: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        Image.fromarray(mask).save(temporary, "PNG")
        temporary.replace(path)
    except OSError as cause:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {cause}") from cause


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _command_line(arguments: Sequence[str] | None = None) -> None:
    try:
        tyro.cli(main, prog="python -m vitjax.data.detector", args=arguments)
    except VitjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    _command_line()
