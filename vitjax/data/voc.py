"""`voc:DIR`: the segmentation images of PASCAL VOC 2012; objects of all classes are foreground."""

from __future__ import annotations

from pathlib import Path

from vitjax.data.checks import check_same_images
from vitjax.data.files import Files
from vitjax.data.labels_file import read_list
from vitjax.data.source import NO_LABEL
from vitjax.errors import ImageError
from vitjax.images.reading import check_images
from vitjax.output.names import LONGEST

BORDER, CLASSES = 255, 20  # values of SegmentationClass: 0 background, 1..20 classes, 255 the void line around objects


def open_voc(folder: Path, image_list: str = "val") -> Files:
    """Open the images and masks listed in ImageSets/Segmentation/<image_list>.txt, in its order, without labels.

    Args:
        folder: VOCdevkit/VOC2012 or a folder above it.
        image_list: name of the list, such as "train" or "val".

    Raises:
        ImageError: a file is missing, or the list contains what is no name; names it.
        ConfigError: the list is not text in UTF-8.
        LabelError: an image is listed twice.
    """
    candidates = (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012")
    root = next((path for path in candidates if (path / "JPEGImages").is_dir()), None)
    if root is None:
        raise ImageError(f"{folder}: contains no JPEGImages, so it is not VOCdevkit/VOC2012 or its parent")
    lists = root / "ImageSets" / "Segmentation"
    path = lists / f"{image_list}.txt"
    if not path.is_file():
        available = ", ".join(sorted(other.stem for other in lists.glob("*.txt") if other.is_file())) or "none"
        raise ImageError(f"{path}: no such list of images; available lists: {available}")
    ids = tuple(read_list(path).split())
    if not ids:
        raise ImageError(f"{path}: the list is empty")
    for name in ids:
        if "/" in name or len(name.encode()) > LONGEST - len(".jpg"):
            raise ImageError(f"{path}: {name[:60]!r} is not the name of an image")
    check_same_images(ids, (), str(path))
    images = tuple(root / "JPEGImages" / f"{name}.jpg" for name in ids)
    masks = tuple(root / "SegmentationClass" / f"{name}.png" for name in ids)
    check_images(images)
    check_images(masks)
    return Files(
        f"voc:{folder}:{image_list}",
        root,
        ids,
        (NO_LABEL,) * len(ids),
        images,
        masks,
        ignore=BORDER,
        values=CLASSES + 1,
    )
