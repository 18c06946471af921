"""Write a small data set with tfds, without TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path

import tensorflow_datasets as tfds

from tests.data.pictures import encoded


def write(
    data_dir: Path,
    name: str,
    class_names=("cat", "dog"),
    count=5,
    named=True,
    file_format="array_record",
    other=None,
):
    """Write `name`:validation with `count` JPEG images of 60 x 40 pixels and labels 0, 1, ... modulo the classes.

    other: {feature: (its type, function of the record's number)}, which replace these features or are added.
    """
    features = {"image": tfds.features.Image(encoding_format="jpeg")}
    if class_names is not None:
        features["label"] = tfds.features.ClassLabel(names=list(class_names))
    if named:
        features["file_name"] = tfds.features.Text()
    other = other or {}
    features.update({key: kind for key, (kind, _) in other.items()})

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def examples(self):
        for number in range(count):
            example = {"image": io.BytesIO(encoded()), "label": None, "file_name": f"val_{number}.JPEG"}
            if class_names is not None:
                example["label"] = number % len(class_names)
            example.update({key: value(number) for key, (_, value) in other.items()})
            yield number, {key: example[key] for key in features}

    builder_class = type(
        "Written",
        (tfds.core.GeneratorBasedBuilder,),
        {
            "VERSION": tfds.core.Version("1.0.0"),
            "name": name,
            "_info": info,
            "_split_generators": lambda self, manager: {"validation": examples(self)},
            "_generate_examples": examples,
        },
        skip_registration=True,
    )
    builder_class(data_dir=str(data_dir), file_format=file_format).download_and_prepare()
