"""`voc:DIR`: PASCAL VOC 2012's segmentation pictures; every object of any class is foreground."""

from __future__ import annotations

from pathlib import Path

from vitjax.data.checks import check_same_images
from vitjax.data.files import Files
from vitjax.data.source import NO_LABEL
from vitjax.errors import ImageError
from vitjax.images.reading import check_images

BORDER = 255  # SegmentationClass: 0 background, 1..20 classes, 255 the void line around objects


def open_voc(folder: Path, image_list: str = "val") -> Files:
    """Pictures and masks that ImageSets/Segmentation/<image_list>.txt names, in its order. No labels.

    Args: folder: VOCdevkit/VOC2012 or a folder above it.
    Raises: ImageError naming the file that is missing; LabelError for a picture that is listed twice.
    """
    candidates = (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012")
    root = next((path for path in candidates if (path / "JPEGImages").is_dir()), None)
    if root is None:
        raise ImageError(f"{folder}: no JPEGImages in it, so it is not VOCdevkit/VOC2012 or its parent")
    lists = root / "ImageSets" / "Segmentation"
    path = lists / f"{image_list}.txt"
    if not path.is_file():
        others = ", ".join(sorted(other.stem for other in lists.glob("*.txt"))) or "none"
        raise ImageError(f"{path}: no such list of pictures; there are: {others}")
    ids = tuple(path.read_text(encoding="utf-8").split())
    if not ids:
        raise ImageError(f"{path}: the list is empty")
    check_same_images(ids, (), str(path))
    images = tuple(root / "JPEGImages" / f"{name}.jpg" for name in ids)
    masks = tuple(root / "SegmentationClass" / f"{name}.png" for name in ids)
    check_images(images)
    check_images(masks)
    return Files(f"voc:{folder}:{image_list}", root, ids, (NO_LABEL,) * len(ids), images, masks, ignore=BORDER)
