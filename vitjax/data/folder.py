"""`folder:DIR`: photographs in a folder, with labels from an index, a list or the folders' names, and masks beside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vitjax.data.checks import Classes, check_same_images, unique_ids
from vitjax.data.files import Files, find_images
from vitjax.data.labels_file import Row, read_index, read_labels
from vitjax.data.source import NO_LABEL
from vitjax.errors import ConfigError, ImageError
from vitjax.images.reading import check_images

_LISTS = ("labels.csv", "labels.json")


def open_folder(folder: Path, classes: Classes) -> Files:
    """Pictures of a folder; the first of these layouts that fits decides.

    1. `index.json`: {"items": [{"image", "id"?, "mask"?, "target_class"?}]}, paths relative to the folder.
    2. `labels.csv` (image, label[, mask]) or `labels.json` ({image: label}, or records): every picture is listed once.
    3. `images/` beside `masks/` or alone: no labels unless `images/` has them as in 2 or 4.
    4. `<class>/<picture>` where <class> is a synset id, a name, a synonym or a number.
    5. Pictures without labels.

    Masks of 2 to 5: `masks/<path of the picture without extension>.png`, where there is a folder `masks`.
    Raises: ImageError, LabelError, ConfigError naming the file, row or folder.
    Cost: one directory walk; nothing is decoded.
    """
    name = f"folder:{folder}"
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    if (folder / "index.json").is_file():
        return _listed(name, folder, read_index(folder / "index.json"), classes)
    pictures = folder / "images" if (folder / "images").is_dir() else folder
    lists = [base / file for base in dict.fromkeys((folder, pictures)) for file in _LISTS if (base / file).is_file()]
    if len(lists) > 1:
        raise ConfigError(f"{folder}: both {lists[0].name} and {lists[1].name}; keep one")
    masks = folder / "masks"
    images = [path for path in find_images(pictures) if not path.is_relative_to(masks)]
    if not images:
        raise ImageError(f"{pictures}: no pictures in it")
    if lists:
        return _with_list(name, pictures, lists[0], images, classes)
    relative = [path.relative_to(pictures).as_posix() for path in images]
    return Files(
        name=name,
        root=folder,
        ids=unique_ids(relative, str(folder)),
        labels=_labels_of_folders(pictures, relative, classes),
        images=tuple(images),
        masks=tuple(_mask_beside(masks, image) for image in relative),
    )


def _with_list(name: str, pictures: Path, list_file: Path, images: Sequence[Path], classes: Classes) -> Files:
    folder, masks = list_file.parent, pictures.parent / "masks" if pictures.name == "images" else pictures / "masks"
    rows = read_labels(list_file)
    # A list beside images/ may name the files with or without that folder.
    inside = pictures != folder and rows and not (folder / rows[0].image).is_file()
    base = pictures if inside else folder
    beside = {base / row.mask for row in rows if row.mask is not None}
    present = [path.relative_to(base).as_posix() for path in images if path not in beside]
    check_same_images([row.image for row in rows], present, str(list_file))
    source = _listed(name, base, rows, classes)
    found = [
        mask if mask is not None else _mask_beside(masks, path.relative_to(pictures).as_posix())
        for mask, path in zip(source.masks, source.images, strict=True)
    ]
    return replace(source, masks=tuple(found))


def _listed(name: str, folder: Path, rows: Sequence[Row], classes: Classes) -> Files:
    if not rows:
        raise ConfigError(f"{folder}: its list of pictures is empty")
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


def _ids(rows: Sequence[Row], folder: Path) -> tuple[str, ...]:
    # An id becomes a file name; what could leave the folder or a shell cannot.
    given = [row.image if row.id is None else re.sub(r"[^\w.+-]", "_", row.id) + Path(row.image).suffix for row in rows]
    return unique_ids(given, str(folder))


def _labels_of_folders(pictures: Path, relative: Sequence[str], classes: Classes) -> tuple[int, ...]:
    parents = [path.partition("/")[0] if "/" in path else None for path in relative]
    names = list(dict.fromkeys(parent for parent in parents if parent is not None))
    if not names:
        return (NO_LABEL,) * len(relative)
    if None in parents:
        loose = relative[parents.index(None)]
        raise ImageError(f"{pictures}: {loose!r} lies beside class folders such as {names[0]!r}; give it a class too")
    number = {name: classes.number(name, f"{pictures / name}") for name in names}
    return tuple(number[parent] for parent in parents if parent is not None)


def _mask_beside(masks: Path, image: str) -> Path | None:
    path = (masks / image).with_suffix(".png")
    return path if path.is_file() else None
