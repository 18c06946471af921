"""`tfds:NAME:SPLIT`: a prepared TensorFlow Datasets data set, read without TensorFlow; vitjax decodes the images."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitjax.data.checks import Classes, digest_of
from vitjax.data.source import NO_LABEL, Raw
from vitjax.errors import ConfigError, ImageError, LabelError, OutputError, VitjaxError
from vitjax.models.class_names import Labels
from vitjax.output.files import write_text
from vitjax.output.terminal import say

_NAME_FIELDS = ("file_name", "image/filename")
_SQUASHED = ("cifar",)  # in 32 x 32 images, a crop would cut off parts of the objects


@dataclass
class Tfds:
    """A `Source` of the records of one split. Labels and file names are read once and cached in ~/.cache/vitjax/tfds.

    name, ids, labels, resize, has_masks: as in `Source`.
    dataset, split, data_dir: as in tfds.
    stamp: digest of version and sizes of the records.
    files: the files of the data set, of all its splits.
    """

    name: str
    dataset: str
    split: str
    data_dir: str
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    stamp: str
    resize: str = "timm"
    has_masks: bool = False
    files: tuple[Path, ...] = ()
    _records: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_records": None}  # open files cannot be shared: each process opens its own

    def read(self, index: int) -> Raw:
        if self._records is None:
            self._records = _records(self.dataset, self.split, self.data_dir)
        try:
            return Raw(self._records[index]["image"])
        except RuntimeError as cause:  # of array_record, for damaged data and for storage that fails
            if "orrupt" not in str(cause):
                raise
            raise ImageError(f"{self.name}: record {index} is damaged: {_short(cause)}") from cause

    def files_of(self, index: int) -> tuple[Path, ...]:
        return self.files

    def digest(self) -> str:
        return digest_of(self.stamp, self.ids, self.labels, self.resize)


def open_tfds(dataset: str, split: str, classes: Classes) -> Tfds:
    """Open a split of a prepared data set below TFDS_DATA_DIR, or ~/tensorflow_datasets if that is not set.

    The data set must be prepared as array_record or parquet.

    The data set's class names are mapped to the model's classes. If the model does not have these names but both have
    the same number of classes, the data set's class numbers are used.

    Args:
        dataset, split: as in tfds.
        classes: the model's classes.

    Raises:
        ImageError: the data set is not prepared; names the folder that was searched.
        LabelError: the classes are not the model's.

    Cost: when first opened, one pass over the records for labels and names.
    """
    name = f"tfds:{dataset}:{split}"
    data_dir = os.environ.get("TFDS_DATA_DIR") or str(_home("TFDS_DATA_DIR") / "tensorflow_datasets")
    records = _records(dataset, split, data_dir)
    info = records.dataset_info
    count = len(records)
    if not count:
        raise ImageError(f"{name}: the split is empty")
    stamp = _stamp(info, split)
    stored, names = _labels_and_names(records, count, f"{dataset}-{split}", stamp)
    return Tfds(
        name=name,
        dataset=dataset,
        split=split,
        data_dir=data_dir,
        ids=_ids(names, f"{dataset}-{split}", count),
        labels=_class_numbers(stored, info, classes, name),
        stamp=stamp,
        resize="squash" if dataset.startswith(_SQUASHED) else "timm",
        files=tuple(sorted(path for path in Path(info.data_dir).glob("*") if path.is_file())),
    )


def _records(dataset: str, split: str, data_dir: str) -> Any:
    """The records of the split as a sequence of dicts with encoded images."""
    import tensorflow_datasets as tfds

    try:
        builder = _builder(tfds, dataset, data_dir)
        features = builder.info.features
        if "image" not in features:
            raise ConfigError(f"tfds:{dataset}: has no feature 'image', only {', '.join(features)}")
        if np.dtype(features["image"].np_dtype).kind not in "u" or len(features["image"].shape) != 3:
            raise ConfigError(f"tfds:{dataset}: its feature 'image' is no image, but {_kind(features['image'])}")
        return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    except VitjaxError:
        raise
    except Exception as cause:
        raise ImageError(f"tfds:{dataset}:{split}: cannot be opened in {data_dir}: {_short(cause)}") from cause


def _builder(tfds: Any, dataset: str, data_dir: str) -> Any:
    """The tfds builder of a data set on disk; downloads nothing."""
    folder = Path(data_dir) / dataset.split(":")[0]
    try:
        builder = tfds.builder(dataset, data_dir=data_dir) if folder.is_dir() else None
    except tfds.core.registered.DatasetNotFoundError:
        builder = None
    advice = (
        f"prepare it once with `python -c \"import tensorflow_datasets as tfds; tfds.builder('{dataset}', "
        f"data_dir='{data_dir}', file_format='array_record').download_and_prepare()\"`, or set TFDS_DATA_DIR"
    )
    if builder is None or not builder.info.splits:
        raise ImageError(f"tfds:{dataset}: no prepared data set in {folder}; {advice}")
    file_format = builder.info.file_format.value
    if file_format not in ("array_record", "parquet"):
        raise ImageError(f"tfds:{dataset}: {folder} is prepared as {file_format}, which has no random access; {advice}")
    return builder


def _labels_and_names(records: Any, count: int, title: str, stamp: str) -> tuple[np.ndarray, list[str] | None]:
    """Labels (NO_LABEL if missing) and file names of the first `count` records, from the cache or from the records."""
    features = records.dataset_info.features
    cache = _cache_folder() / f"{_file_name(title)}-{stamp[:16]}-{count}.json"
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        if len(stored["labels"]) == count and (stored["names"] is None or len(stored["names"]) == count):
            return np.asarray(stored["labels"], np.int64), stored["names"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the cache file does not exist or is damaged
    name_field = next((key for key in _NAME_FIELDS if key in features and not _is_integer(features[key])), None)
    has_label = _has_label(features)
    if "label" in features and not has_label:
        say(
            f"tfds:{title}: its feature 'label' is no class number, but {_kind(features['label'])}; not used",
            error=True,
        )
    labels = np.full(count, NO_LABEL, np.int64)
    names: list[str] | None = [] if name_field else None
    for index in range(count if has_label or name_field else 0):
        try:
            record = records[index]
            if has_label:
                labels[index] = record["label"]
            if names is not None:
                names.append(record[name_field].decode("utf-8", "replace"))
        except Exception as cause:  # array_record and tfds raise exceptions of many types for damaged data
            raise ImageError(f"tfds:{title}: record {index} cannot be read: {_short(cause)}") from cause
    _write_cache(cache, {"labels": labels.tolist(), "names": names})
    return labels, names


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or _home("XDG_CACHE_HOME") / ".cache") / "vitjax" / "tfds"


def _write_cache(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(content))
    except (OSError, OutputError):  # the cache only saves time
        return


def _ids(names: list[str] | None, prefix: str, count: int) -> tuple[str, ...]:
    if names is not None:
        ids = [_file_name(str(PurePosixPath(name).with_suffix("")).replace("/", "__")) for name in names]
        if all(ids) and len({identity.casefold() for identity in ids}) == count:
            return tuple(ids)
    return tuple(f"{_file_name(prefix)}-{index:06d}" for index in range(count))


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]", "_", text)


def _class_numbers(stored: np.ndarray, info: Any, classes: Classes, name: str) -> tuple[int, ...]:
    class_names = list(getattr(info.features["label"], "names", None) or ()) if _has_label(info.features) else []
    table = _class_table(class_names, classes.labels, classes.count, name)
    numbers = []
    for row, label in enumerate(stored.tolist()):
        if label == NO_LABEL:  # tfds also uses -1, for test sets without public labels
            numbers.append(NO_LABEL)
            continue
        if table is not None and not 0 <= label < len(table):
            raise LabelError(f"{name}: record {row}: label {label} is none of the data set's {len(table)} classes")
        numbers.append(classes.number(table[label] if table is not None else label, f"{name}: record {row}"))
    return tuple(numbers)


def _class_table(class_names: list[str], labels: Labels | None, count: int | None, name: str) -> list[int] | None:
    """The model's class number of each class of the data set; None if the class numbers are the same."""
    if not class_names or labels is None or class_names == [str(number) for number in range(len(class_names))]:
        return None
    try:
        return [labels.index(text) for text in class_names]
    except LabelError as cause:
        if len(class_names) == count:
            say(f"{name}: its class names are not the model's ({cause}); its class numbers are used", error=True)
            return None
        raise LabelError(
            f"{name}: its {len(class_names)} classes are not among the model's {len(labels)}: {cause}"
        ) from None


def _has_label(features: Any) -> bool:
    """Whether records have one class number each."""
    return "label" in features and _is_integer(features["label"])


def _is_integer(feature: Any) -> bool:
    shape, kind = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    return shape == () and not isinstance(kind, dict) and np.dtype(kind).kind in "iu"


def _kind(feature: Any) -> str:
    shape, kind = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
    return f"{type(feature).__name__} of {getattr(kind, '__name__', kind)} {list(shape) if shape else ''}".strip()


def _short(cause: BaseException) -> str:
    return " ".join(str(cause).strip("'\"").split())[:200] or type(cause).__name__


def _stamp(info: Any, split: str) -> str:
    """Digest of version and sizes of the split's records."""
    shards = info.splits[split]
    return digest_of(info.full_name, split, shards.num_examples, shards.num_bytes, list(shards.shard_lengths or ()))


def _home(variable: str) -> Path:
    """The user's home directory.

    Raises:
        ConfigError: there is none, as for a user without an entry in a container; names the variable that helps.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError(f"this user has no home directory: set {variable}") from None
