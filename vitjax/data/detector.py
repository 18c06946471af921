"""Object masks from an instance segmentation model, written as PNG files for a folder of images.

Run `python -m vitjax.data.detector DIR -o MASKS` once per folder. It needs the extra `torch`.
"""

from __future__ import annotations

import hashlib
import json
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
from vitjax.storage import write_whole, writing

# uint8 image [h, w, 3] -> (scores float [n], masks float [n, h, w] in 0..1), one entry per detected instance.
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def mask_rcnn(weights: Path | None = None, device: str = "cpu") -> Detect:
    """Load torchvision's Mask R-CNN (ResNet-50 FPN), trained on COCO.

    Args:
        weights: a .pth or .safetensors state dict; None downloads torchvision's COCO_V1 weights.
        device: torch's name of the device.

    Raises:
        WeightsError: the weights cannot be used; names the file and the cause.
        ConfigError: torch or torchvision cannot be imported.

    Cost: about 3 s per photograph on two cores, 0.05 s on a GPU.
    """
    try:
        import torch
        from torchvision.models import detection
    except Exception as cause:  # a torchvision built for another torch raises many types of exception
        raise ConfigError(f"the detector needs torch and torchvision (pip install vitjax[torch]): {cause}") from cause
    default = detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        if weights is None:
            model = detection.maskrcnn_resnet50_fpn(weights=default)
        else:
            state = _state_dict(torch, weights)
            model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
            model.load_state_dict(state)
    except WeightsError:
        raise
    except Exception as cause:
        where = weights if weights is not None else f"{default.url} (without network access, pass --weights FILE)"
        raise WeightsError(
            f"{where}: cannot be loaded into Mask R-CNN: {' '.join(str(cause).split())[:300]}"
        ) from cause
    return as_detect(model.to(device).eval(), device)


def as_detect(model: Any, device: str = "cpu") -> Detect:
    """A torchvision detection model as a function of one image, see `Detect`."""
    import torch

    def detect(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).to(device).float() / 255
        with torch.inference_mode():
            instances = model([image])[0]
        return instances["scores"].cpu().numpy(), instances["masks"][:, 0].cpu().numpy()

    return detect


def union_mask(scores: np.ndarray, masks: np.ndarray, score: float) -> np.ndarray:
    """Union of the masks, thresholded at 0.5, of all instances with a score above `score`.

    Args:
        scores: [n].
        masks: [n, h, w], in 0..1.
        score: instances with this score or a lower one are left out.

    Returns:
        uint8 [h, w]: 255 object, 0 background.
    """
    is_object = (masks[scores > score] > 0.5).any(axis=0)
    return np.where(is_object, 255, 0).astype(np.uint8)


def write_masks(
    folder: Path, out: Path, detect: Detect, *, score: float = 0.5, settings: dict[str, Any] | None = None
) -> tuple[int, int]:
    """Write a mask `out/<stem>.png` for every image of `folder`.

    Existing masks are kept, so calling it again resumes an interrupted run.

    Args:
        folder: folder of images, or a folder that contains `images/`.
        out: folder of masks.
        detect: finds the instances of an image.
        score: instances with this score or a lower one are left out.
        settings: what else the masks depend on. An `out` that was written with other settings is refused.

    Returns:
        The number of masks in `out`, and the number of images that could not be read; these have no mask and are named
        on stderr.

    Raises:
        ImageError: the folder does not exist or contains no images.
        ConfigError: `score` is outside 0..1, or `out` was written with other settings.
        OutputError: `out` or a mask cannot be written.
    """
    if not 0 <= score <= 1:
        raise ConfigError(f"score must lie in 0..1, not {score}")
    image_folder = folder / "images" if (folder / "images").is_dir() else folder
    mask_folders = (out.resolve(), (image_folder / "masks").resolve())
    images = [
        path
        for path in find_images(image_folder)
        if not any(path.resolve().is_relative_to(masks) for masks in mask_folders)
    ]
    if not images:
        raise ImageError(f"{image_folder}: contains no images")
    ids = unique_ids([path.relative_to(image_folder).as_posix() for path in images], str(image_folder))
    _check_settings(out, {**(settings or {}), "score": score, "mask": 0.5})
    written = 0
    for image, stem in zip(tqdm(images, unit=" images", file=sys.stderr), mask_stems(images, ids), strict=True):
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
    """Write object masks predicted by Mask R-CNN, one PNG per image: 255 object, 0 background.

    Args:
        folder: folder of images.
        out: folder of masks; existing masks are kept.
        weights: state dict of torchvision's maskrcnn_resnet50_fpn; the default is its COCO weights.
        score: instances with this score or a lower one are left out.
        device: torch's name of the device.
    """
    settings = {"weights": "COCO_V1" if weights is None else _sha256(weights)}
    written, skipped = write_masks(folder, out, mask_rcnn(weights, device), score=score, settings=settings)
    print(f"{out}  {written} masks, {skipped} images skipped")


def _state_dict(torch: Any, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)  # refuses pickles that would run code


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Create the folder and record the settings, or check that its masks were written with the same settings."""
    settings_file = out / "detector.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if settings_file.is_file():
            before = json.loads(settings_file.read_text(encoding="utf-8"))
            differing = [key for key in settings if before.get(key) != settings[key]]
            if differing:
                key = differing[0]
                raise ConfigError(f"{out}: its masks were written with {key}={before.get(key)}, not {settings[key]}")
            return
        write_whole(settings_file, lambda stream: stream.write(json.dumps(settings).encode()))
    except (OSError, ValueError) as cause:
        raise OutputError(f"{out}: cannot be used as a folder of masks: {cause}") from cause


def _save(path: Path, mask: np.ndarray) -> None:
    with writing(path):
        write_whole(path, lambda stream: Image.fromarray(mask).save(stream, "PNG"))


def _command_line(arguments: Sequence[str] | None = None) -> None:
    try:
        tyro.cli(main, prog="python -m vitjax.data.detector", args=arguments)
    except VitjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    _command_line()
