"""Write a small data set with tfds, without TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path

import tensorflow_datasets as tfds

from tests.data.pictures import encoded


def write(data_dir: Path, name: str, class_names=("cat", "dog"), count=5, named=True, file_format="array_record"):
    """Write `name`:validation with `count` JPEG images of 60 x 40 pixels and labels 0, 1, ... modulo the classes."""
    features = {"image": tfds.features.Image(encoding_format="jpeg")}
    if class_names is not None:
        features["label"] = tfds.features.ClassLabel(names=list(class_names))
    if named:
        features["file_name"] = tfds.features.Text()

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def examples(self):
        for number in range(count):
            example = {"image": io.BytesIO(encoded()), "label": None, "file_name": f"val_{number}.JPEG"}
            if class_names is not None:
                example["label"] = number % len(class_names)
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
