"""Open a data set by its specification: `folder:DIR`, `voc:DIR`, `imagenet-seg:FILE`, `tfds:NAME:SPLIT`, `scenes:N`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitjax.data.checks import Classes
from vitjax.data.listing import describe
from vitjax.data.overlay import overlay_masks
from vitjax.data.source import Source
from vitjax.errors import ConfigError, ImageError
from vitjax.models.class_names import Labels
from vitjax.output.terminal import say
from vitjax.storage import check_local

Opener = Callable[[str, Classes], Source]


def _folder(rest: str, classes: Classes) -> Source:
    from vitjax.data.folder import open_folder

    return open_folder(Path(rest), classes)


def _voc(rest: str, classes: Classes) -> Source:
    from vitjax.data.voc import open_voc

    folder, _, image_list = rest.partition(":")
    return open_voc(Path(folder), image_list or "val")


def _imagenet_seg(rest: str, classes: Classes) -> Source:
    from vitjax.data.imagenet_segmentation import open_imagenet_segmentation

    return open_imagenet_segmentation(Path(rest))


def _tfds(rest: str, classes: Classes) -> Source:
    from vitjax.data.tfds import open_tfds

    name, separator, split = rest.rpartition(":")
    if not (name and separator and split):
        raise ConfigError(f"tfds:{rest}: needs a split, as in tfds:imagenet2012:validation")
    return open_tfds(name, split, classes)


def _scenes(rest: str, classes: Classes) -> Source:
    from vitjax.data.scene_source import open_scenes

    return open_scenes(rest, classes)


# Kind -> (form of the specification, function that opens it). The functions import their libraries only when called.
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
) -> Source:
    """Open a data set and check everything that does not require decoding an image.

    Args:
        spec: folder:DIR | tfds:NAME:SPLIT | voc:DIR[:LIST] | imagenet-seg:FILE | scenes:N[:objects=K].
        labels: the model's class names, which map names in the data set to class numbers; if None, labels must be
            numbers.
        num_classes: number of classes of the model, which every label must be below; if None, this is not checked.
        masks: a folder with one file per image, `<file stem of the image>` with the suffix of any image format, used
            instead of the data set's own masks: 0 background, 128 ignored, any other value object. An image without a
            file there has no mask.

    What a folder contains beside the images is counted in `skipped` of the source and said on stderr.

    Returns:
        A picklable `Source` with its images in a fixed order.

    Raises:
        ConfigError: the specification is invalid.
        ImageError: files are missing, and the first five and their number are named; or a folder cannot be read.
        LabelError: a label is out of range, not a class, listed twice or missing; names the row.

    Cost: one directory walk and one `stat` per file; tfds reads every record once and caches the labels.
    """
    kind, _, rest = spec.partition(":")
    forms = ", ".join(form for form, _ in KINDS.values())
    if kind not in KINDS:
        raise ConfigError(f"unknown data {spec!r}; valid forms are {forms}")
    if not rest:
        raise ConfigError(f"data {spec!r} is incomplete; the form is {KINDS[kind][0]}")
    check_local(rest, f"data {kind}:")
    try:
        source = KINDS[kind][1](rest, Classes(labels, num_classes))
        if masks is not None:
            source = overlay_masks(source, Path(masks))
    except OSError as error:
        raise ImageError(f"{error.filename or spec}: cannot be read: {error.strerror or error}") from error
    if skipped := describe(getattr(source, "skipped", {})):
        say(f"{spec}: {len(source.ids)} images; passed over: {skipped}", error=True)
    return source
