"""`folder:DIR`: images in a folder, with optional labels (index, list or class folders) and masks."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vitjax.data.checks import Classes, check_same_images, unique_ids
from vitjax.data.files import Files, fit_masks
from vitjax.data.labels_file import LabelRow, read_index, read_labels
from vitjax.data.listing import describe, is_image_name, list_images, suffixes
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

    In layouts 2 to 5, the mask of an image is `masks/<path of the image without suffix>` with the suffix of any image
    format, if it exists. `skipped` of the source counts what was passed over; see `list_images`.

    Raises:
        ImageError: the folder or a listed file does not exist, a folder cannot be read, the folder contains no images,
            masks/ contains none of an image or two of one, or two images have the same id.
        LabelError: a label is out of range or not a class, or the list and the images differ.
        ConfigError: a list is malformed, empty, or there are two.

    Errors name the file, row or folder. Cost: one directory walk; no image is decoded.
    """
    name = f"folder:{folder}"
    if not folder.is_dir():
        raise ImageError(f"{folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'}")
    if (index := _list_file(folder, ("index.json",))) is not None:
        return _listed_files(name, folder, read_index(index), classes)
    image_folder = folder / "images" if _is_folder(folder / "images") else folder
    lists = [path for base in dict.fromkeys((folder, image_folder)) if (path := _list_file(base, _LISTS)) is not None]
    if len(lists) > 1:
        raise ConfigError(f"{folder}: contains both {lists[0]} and {lists[1]}; keep one")
    beside_images = lists and image_folder.name == "images"
    masks = (image_folder.parent if beside_images else folder) / "masks"
    listing = list_images(image_folder, without=[masks, *lists])
    skipped = {**listing.skipped, **_beside(folder, image_folder)}
    if not listing.files:
        rest = f" (passed over: {describe(skipped)})" if skipped else ""
        known = ", ".join(sorted(suffixes()))
        raise ImageError(f"{image_folder}: contains no images{rest}; suffixes of images: {known}")
    relative = [path.relative_to(image_folder).as_posix() for path in listing.files]
    if lists:
        source = _files_with_list(name, image_folder, lists[0], listing.files, classes)
    else:
        skipped |= _empty_classes(image_folder, relative, masks)
        source = Files(
            name=name,
            root=folder,
            ids=unique_ids(relative, str(folder)),
            labels=_labels_of_class_folders(image_folder, relative, classes),
            images=listing.files,
            masks=(None,) * len(relative),
        )
    return _with_masks(replace(source, skipped=skipped), masks, image_folder)


def _is_folder(path: Path) -> bool:
    """Whether the folder exists.

    Raises:
        ImageError: something else has its name, such as a link that leads nowhere.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise ImageError(f"{path}: is not a folder, or a link that leads nowhere")
    return path.is_dir()


def _list_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The list in a folder, if there is one.

    Raises:
        ConfigError: there are two, or a list is no regular file.
    """
    present = [folder / name for name in names if os.path.lexists(folder / name)]
    if len(present) > 1:
        raise ConfigError(f"{folder}: contains both {present[0].name} and {present[1].name}; keep one")
    if present and not present[0].is_file():
        raise ConfigError(f"{present[0]}: is not a regular file, or a link that leads nowhere")
    return present[0] if present else None


def _beside(folder: Path, image_folder: Path) -> dict[str, int]:
    """What lies beside images/ and looks as if it belonged to the data set."""
    if image_folder == folder:
        return {}
    others = [path for path in folder.iterdir() if path.name not in ("images", "masks") and path.name[0] != "."]
    images = sum(is_image_name(path.name) for path in others)
    folders = sum(path.is_dir() for path in others)
    counts = {"image beside images/": images, "folder beside images/": folders}
    return {reason: count for reason, count in counts.items() if count}


def _with_masks(source: Files, folder: Path, image_folder: Path) -> Files:
    """The source with masks from `folder`, where its list names none."""
    if not _is_folder(folder) or not any(folder.iterdir()):
        return source
    relative = [Path(os.path.relpath(path, image_folder)) for path in source.images]
    names = [path.with_suffix("").as_posix() for path in relative]
    masks, skipped = fit_masks(folder, names, source.name, source.masks)
    return replace(source, masks=masks, skipped={**source.skipped, **skipped})


def _files_with_list(name: str, image_folder: Path, list_file: Path, images: Sequence[Path], classes: Classes) -> Files:
    folder = list_file.parent
    rows = read_labels(list_file)
    # A list beside images/ may name the files with or without that folder.
    relative_to_images = image_folder != folder and rows and not (folder / rows[0].image).is_file()
    base = image_folder if relative_to_images else folder
    listed_masks = {base / row.mask for row in rows if row.mask is not None}
    present = [path.relative_to(base).as_posix() for path in images if path not in listed_masks]
    check_same_images([row.image for row in rows], present, str(list_file))
    return _listed_files(name, base, rows, classes)


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


def _empty_classes(image_folder: Path, relative: Sequence[str], masks: Path) -> dict[str, int]:
    """The number of class folders that contribute no image."""
    filled = {path.partition("/")[0] for path in relative if "/" in path}
    folders = [path for path in image_folder.iterdir() if path.is_dir() and not path.is_symlink() and path != masks]
    empty = [path for path in folders if path.name not in filled and not path.name.startswith(".")]
    return {"class folder without images": len(empty)} if filled and empty else {}


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
