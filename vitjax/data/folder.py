"""`folder:DIR`: images in a folder, with optional labels (index, list or class folders) and masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vitjax.data.checks import Classes, check_same_images, unique_ids
from vitjax.data.files import Files, find_images
from vitjax.data.labels_file import LabelRow, read_index, read_labels
from vitjax.data.source import NO_LABEL
from vitjax.errors import ConfigError, ImageError
from vitjax.images.reading import check_images

_LISTS = ("labels.csv", "labels.json")


def open_folder(folder: Path, classes: Classes) -> Files:
    """Open a folder of images. The first of these layouts that matches is used:

    1. `index.json`: {"items": [{"image", "id"?, "mask"?, "target_class"?}]}, paths relative to the folder.
    2. `labels.csv` (image, label[, mask]) or `labels.json` ({image: label}, or records): every image is listed once.
    3. `images/`, with or without `masks/` beside it: no labels unless `images/` has them as in 2 or 4.
    4. `<class>/<image>` where <class> is a synset id, a name, a synonym or a number.
    5. Images without labels.

    In layouts 2 to 5, the mask of an image is `masks/<path of the image without extension>.png`, if it exists.

    Raises:
        ImageError: the folder or a listed file does not exist, the folder contains no images, or two images have the
            same id.
        LabelError: a label is out of range or not a class, or the list and the images differ.
        ConfigError: a list is malformed, empty, or there are two.

    Errors name the file, row or folder. Cost: one directory walk; no image is decoded.
    """
    name = f"folder:{folder}"
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    if (folder / "index.json").is_file():
        return _listed_files(name, folder, read_index(folder / "index.json"), classes)
    image_folder = folder / "images" if (folder / "images").is_dir() else folder
    bases = dict.fromkeys((folder, image_folder))
    lists = [base / file for base in bases for file in _LISTS if (base / file).is_file()]
    if len(lists) > 1:
        raise ConfigError(f"{folder}: contains both {lists[0].name} and {lists[1].name}; keep one")
    masks = folder / "masks"
    images = [path for path in find_images(image_folder) if not path.is_relative_to(masks)]
    if not images:
        raise ImageError(f"{image_folder}: contains no images")
    if lists:
        return _files_with_list(name, image_folder, lists[0], images, classes)
    relative = [path.relative_to(image_folder).as_posix() for path in images]
    return Files(
        name=name,
        root=folder,
        ids=unique_ids(relative, str(folder)),
        labels=_labels_of_class_folders(image_folder, relative, classes),
        images=tuple(images),
        masks=tuple(_mask_path(masks, image) for image in relative),
    )


def _files_with_list(name: str, image_folder: Path, list_file: Path, images: Sequence[Path], classes: Classes) -> Files:
    folder = list_file.parent
    mask_folder = image_folder.parent / "masks" if image_folder.name == "images" else image_folder / "masks"
    rows = read_labels(list_file)
    # A list beside images/ may name the files with or without that folder.
    relative_to_images = image_folder != folder and rows and not (folder / rows[0].image).is_file()
    base = image_folder if relative_to_images else folder
    listed_masks = {base / row.mask for row in rows if row.mask is not None}
    present = [path.relative_to(base).as_posix() for path in images if path not in listed_masks]
    check_same_images([row.image for row in rows], present, str(list_file))
    source = _listed_files(name, base, rows, classes)
    masks = [
        mask if mask is not None else _mask_path(mask_folder, path.relative_to(image_folder).as_posix())
        for mask, path in zip(source.masks, source.images, strict=True)
    ]
    return replace(source, masks=tuple(masks))


def _listed_files(name: str, folder: Path, rows: Sequence[LabelRow], classes: Classes) -> Files:
    if not rows:
        raise ConfigError(f"{folder}: its list of images is empty")
    images = [folder / row.image for row in rows]
    check_images(images)
    masks = [None if row.mask is None else folder / row.mask for row in rows]
    check_images([mask for mask in masks if mask is not None])
    return Files(
        name=name,
        root=folder,
        ids=_ids(rows, folder),
        labels=tuple(classes.number(row.label, row.where) for row in rows),
        images=tuple(images),
        masks=tuple(masks),
    )


def _ids(rows: Sequence[LabelRow], folder: Path) -> tuple[str, ...]:
    # Ids become file names: characters with a meaning in paths or shells are replaced.
    names = [row.image if row.id is None else re.sub(r"[^\w.+-]", "_", row.id) + Path(row.image).suffix for row in rows]
    return unique_ids(names, str(folder))


def _labels_of_class_folders(image_folder: Path, relative: Sequence[str], classes: Classes) -> tuple[int, ...]:
    parents = [path.partition("/")[0] if "/" in path else None for path in relative]
    names = list(dict.fromkeys(parent for parent in parents if parent is not None))
    if not names:
        return (NO_LABEL,) * len(relative)
    if None in parents:
        loose = relative[parents.index(None)]
        raise ImageError(
            f"{image_folder}: {loose!r} lies beside class folders such as {names[0]!r}; move it into a class folder"
        )
    class_of = {name: classes.number(name, f"{image_folder / name}") for name in names}
    return tuple(class_of[parent] for parent in parents if parent is not None)


def _mask_path(mask_folder: Path, image: str) -> Path | None:
    path = (mask_folder / image).with_suffix(".png")
    return path if path.is_file() else None
