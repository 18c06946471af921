"""Open a data set by its specification: `folder:DIR`, `voc:DIR`, `imagenet-seg:FILE`, `tfds:NAME:SPLIT`, `scenes:N`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitjax.data.checks import Classes
from vitjax.data.overlay import FirstN, overlay_masks
from vitjax.data.source import Source
from vitjax.errors import ConfigError
from vitjax.models.class_names import Labels

Opener = Callable[[str, Classes, "int | None"], Source]


def _folder(rest: str, classes: Classes, limit: int | None) -> Source:
    from vitjax.data.folder import open_folder

    return open_folder(Path(rest), classes)


def _voc(rest: str, classes: Classes, limit: int | None) -> Source:
    from vitjax.data.voc import open_voc

    folder, _, image_list = rest.partition(":")
    return open_voc(Path(folder), image_list or "val")


def _imagenet_seg(rest: str, classes: Classes, limit: int | None) -> Source:
    from vitjax.data.imagenet_segmentation import open_imagenet_segmentation

    return open_imagenet_segmentation(Path(rest))


def _tfds(rest: str, classes: Classes, limit: int | None) -> Source:
    from vitjax.data.tfds import open_tfds

    name, separator, split = rest.rpartition(":")
    if not (name and separator and split):
        raise ConfigError(f"tfds:{rest}: needs a split, as in tfds:imagenet2012:validation")
    return open_tfds(name, split, classes, limit)


def _scenes(rest: str, classes: Classes, limit: int | None) -> Source:
    from vitjax.data.scene_source import open_scenes

    return open_scenes(rest, classes)


# What follows the kind, and who opens it. Each imports its own libraries, and only when asked for.
KINDS: dict[str, tuple[str, Opener]] = {
    "folder": ("folder:DIR", _folder),
    "tfds": ("tfds:NAME:SPLIT", _tfds),
    "voc": ("voc:DIR[:LIST]", _voc),
    "imagenet-seg": ("imagenet-seg:FILE", _imagenet_seg),
    "scenes": ("scenes:N[:objects=K]", _scenes),
}


def open_data(
    spec: str,
    labels: Labels | None,
    *,
    num_classes: int | None,
    masks: Path | None = None,
    limit: int | None = None,
) -> Source:
    """Open a data set and check what can be checked without decoding a picture.

    Args:
      spec: folder:DIR | tfds:NAME:SPLIT | voc:DIR[:LIST] | imagenet-seg:FILE | scenes:N[:objects=K].
      labels: the model's classes, to turn class names into numbers; None: labels must be numbers.
      num_classes: of the model; every label must be below it. None: not checked.
      masks: a folder with `<file stem of the picture>.png` per picture, in place of the data set's own masks: 0
        background, 128 ignore, everything else the object. A picture without a file there has no mask.
      limit: only the first so many pictures.

    Returns: a picklable `Source` whose pictures are in a fixed order.
    Raises: ConfigError for a specification that cannot be; ImageError for missing files (the first five and the
      count); LabelError for labels that are out of range, not a class, listed twice or missing, naming the row.
    Cost: one directory walk and one `stat` per file; tfds reads every record once and remembers its labels.
    """
    kind, _, rest = spec.partition(":")
    forms = ", ".join(form for form, _ in KINDS.values())
    if kind not in KINDS:
        raise ConfigError(f"unknown data {spec!r}; a data set is one of {forms}")
    if not rest:
        raise ConfigError(f"data {spec!r} lacks what comes after {kind!r}: {KINDS[kind][0]}")
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be positive, not {limit}")
    source = KINDS[kind][1](rest, Classes(labels, num_classes), limit)
    if masks is not None:
        source = overlay_masks(source, Path(masks))
    if limit is not None and limit < len(source.ids):
        source = FirstN(source, limit)
    return source
