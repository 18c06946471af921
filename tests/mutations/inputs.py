"""The kinds of inputs: valid ones, and what reads a mutated one. A reader returns an outcome and its cause."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.mutations.engine import mutated, mutated_text

Outcome = tuple[str, str]
"""("refused" | "status" | "right" | "other" | "fault", cause). "other" is a valid input that means something else."""
PARTIAL = {"truncate", "zero_to_the_end"}
"""Mutations after which the end of the data is missing, which every reader must notice."""
NOTICED = 0.05
"""Share of the data that must be missing, because the last bytes of an uncompressed picture may be zeros."""


class Kind(ABC):
    """A kind of inputs. `case` makes input number `number`; the same seed and number give the same input."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def case(self, rng: np.random.Generator) -> Any: ...

    @abstractmethod
    def read(self, case: Any) -> Outcome: ...


def _photo(seed: int) -> Any:
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return coarse.resize((160, 120), Image.Resampling.BICUBIC)


def _encoded(image: Any, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


class Pictures(Kind):
    """Photographs in the formats and modes that are read."""

    as_mask = False

    def __init__(self, folder: Path) -> None:
        from PIL import Image

        from vitjax.images.reading import Preprocessing

        super().__init__(folder)
        rgb = _photo(0)
        sixteen = Image.fromarray(np.arange(160 * 120, dtype=np.uint16).reshape(120, 160))
        self.seeds = {
            "rgb.jpg": _encoded(rgb, "JPEG"),
            "progressive.jpg": _encoded(rgb, "JPEG", progressive=True),
            "cmyk.jpg": _encoded(rgb.convert("CMYK"), "JPEG"),
            "rgb.png": _encoded(rgb, "PNG"),
            "palette.png": _encoded(rgb.convert("P"), "PNG"),
            "sixteen.png": _encoded(sixteen, "PNG"),
            "one_bit.png": _encoded(rgb.convert("1"), "PNG"),
            "rgba.webp": _encoded(rgb.convert("RGBA"), "WEBP"),
            "rgb.tif": _encoded(rgb, "TIFF"),
            "lzw.tif": _encoded(rgb, "TIFF", compression="tiff_lzw"),
            "rgb.bmp": _encoded(rgb, "BMP"),
            "rgb.gif": _encoded(rgb, "GIF"),
            "grey.ppm": _encoded(rgb.convert("L"), "PPM"),
        }
        self.preprocessing = Preprocessing((64, 64))
        self.whole = {name: self._decode(name, content) for name, content in self.seeds.items()}
        assert {decoded.status for decoded in self.whole.values()} == {"ok"}

    def case(self, rng: np.random.Generator) -> Any:
        name, other = rng.choice(list(self.seeds), 2)
        return str(name), *mutated(rng, self.seeds[str(name)], self.seeds[str(other)])

    def _decode(self, name: str, content: bytes) -> Any:
        from vitjax.data.decode import decode
        from vitjax.data.source import Raw

        path = self.folder / name
        path.write_bytes(content)
        raw = Raw(np.full((120, 160, 3), 9, np.uint8), path) if self.as_mask else Raw(path)
        source = SimpleNamespace(name="source", ids=("a",), resize="timm", read=lambda index: raw)
        return decode(source, 0, self.preprocessing)

    def read(self, case: Any) -> Outcome:
        name, content, operations = case
        decoded, whole = self._decode(name, content), self.whole[name]
        if decoded.status != "ok":
            return "status", decoded.cause
        seed = self.seeds[name]
        kept = next((i for i, (a, b) in enumerate(zip(content, seed, strict=False)) if a != b), len(content)) / len(
            seed
        )
        same = np.array_equal(decoded.mask, whole.mask) and np.array_equal(decoded.pixels, whole.pixels)
        if not same and set(operations.split("+")) <= PARTIAL and kept < 1 - NOTICED:
            return "fault", f"a part of {name} is taken for the whole"
        return ("right" if same else "other"), name


class Masks(Pictures):
    """The same files as masks."""

    as_mask = True


class Checkpoints(Kind):
    """Files of weights in every format, those with a header of their own included."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.numpy import save

        import vitjax
        from tests.cases import tiny_model
        from vitjax.models.families import table
        from weights_convert.keys import to_state

        super().__init__(folder)
        model = tiny_model("plain")
        models = table()["models"]
        models["tiny_mutations"] = {**models["deit_tiny_patch16_224"], "config": asdict(model.config)}
        state = to_state(model.params)
        metadata = {"config": asdict(model.config), "classes": [f"c{i}" for i in range(model.config.num_classes)]}
        metadata |= {"mean": [0.5] * 3, "std": [0.5] * 3}
        header = {key: json.dumps(value) for key, value in metadata.items()}
        tensors = {key: torch.from_numpy(value.copy()) for key, value in state.items()}

        def pickled(content: Any, **options: Any) -> bytes:
            stream = io.BytesIO()
            torch.save(content, stream, **options)
            return stream.getvalue()

        self.seeds = {
            "plain.safetensors": save(state),
            "own.safetensors": save(state, metadata=header),
            "half.safetensors": save({key: value.astype(np.float16) for key, value in state.items()}),
            "zip.pth": pickled({"model": tensors, "epoch": 3}),
            "old.pth": pickled(tensors, _use_new_zipfile_serialization=False),
        }
        self.shas = {name: self._load(name, content) for name, content in self.seeds.items()}
        assert vitjax.load("tiny_mutations", self.folder / "plain.safetensors").config == model.config

    def case(self, rng: np.random.Generator) -> Any:
        name, other = rng.choice(list(self.seeds), 2)
        return str(name), *mutated(rng, self.seeds[str(name)], self.seeds[str(other)])

    def _load(self, name: str, content: bytes) -> str:
        import jax

        import vitjax

        path = self.folder / name
        path.write_bytes(content)
        model = vitjax.load("vitjax_scenes" if name.startswith("own") else "tiny_mutations", path)
        assert all(np.isfinite(leaf).all() and leaf.dtype == np.float32 for leaf in jax.tree.leaves(model.params))
        return model.weights["sha256"]

    def read(self, case: Any) -> Outcome:
        name, content, operations = case
        sha = self._load(name, content)
        if sha == self.shas[name]:
            return "right", name
        if set(operations.split("+")) <= {"truncate"} or name.startswith("zip"):
            return "fault", f"damaged {name} is read as other weights"
        return "other", name


class Labels(Kind):
    """Lists of images: labels.csv, labels.json, index.json."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("a.png", "b.png", "c.png"):
            (folder / name).write_bytes(_encoded(_photo(1).resize((8, 8)), "PNG"))
            (folder / "masks").mkdir(exist_ok=True)
            (folder / "masks" / name).write_bytes(_encoded(_photo(1).resize((8, 8)).convert("L"), "PNG"))
        self.seeds = {
            "labels.csv": "image,label,mask\na.png,0,masks/a.png\nb.png,dog,masks/b.png\nc.png,2,masks/c.png\n",
            "labels.json": json.dumps({"a.png": 0, "b.png": "dog", "c.png": 2}),
            "index.json": json.dumps({"items": [{"image": "a.png", "mask": "masks/a.png", "target_class": 0}]}),
        }
        for name, text in self.seeds.items():
            assert self.read((name, text.encode(), "")) == ("right", name)

    def case(self, rng: np.random.Generator) -> Any:
        name = str(rng.choice(list(self.seeds)))
        text = self.seeds[name]
        if rng.random() < 0.6:
            changed, operations = mutated_text(rng, text)
            return name, changed.encode("utf-8", "surrogatepass"), operations
        return name, *mutated(rng, text.encode(), self.seeds["labels.csv"].encode("utf-16"))

    def read(self, case: Any) -> Outcome:
        from vitjax.data.open import open_data
        from vitjax.models.class_names import Labels as Names

        name, content, _ = case
        for each in self.seeds:
            (self.folder / each).unlink(missing_ok=True)
        (self.folder / name).write_bytes(content)
        source = open_data(f"folder:{self.folder}", Names(("cat", "dog", "cow")), num_classes=3)
        if not all(-1 <= label < 3 for label in source.labels) or len(set(source.ids)) != len(source.ids):
            return "fault", f"labels {source.labels} of {source.ids}"
        return ("right" if content == self.seeds[name].encode() else "other"), name


class Options(Kind):
    """Methods and metrics with options, as on the command line."""

    def __init__(self, folder: Path) -> None:
        from tests.cases import CASES, tiny_model
        from vitjax.metrics import METRICS

        super().__init__(folder)
        self.model = tiny_model("plain")

        def text(name: str, options: dict[str, Any]) -> str:
            return ":".join([name, ",".join(f"{key}={value}" for key, value in options.items())])

        methods = [text(case["method"], {k: v for k, v in case.items() if k != "method"}) for case in CASES]
        metrics = [text(name, metric.options) for name, metric in METRICS.items()]
        self.seeds = [("method", each) for each in methods] + [("metric", each) for each in metrics]

    def case(self, rng: np.random.Generator) -> Any:
        kind, text = self.seeds[rng.integers(len(self.seeds))]
        return kind, *mutated_text(rng, text)

    def read(self, case: Any) -> Outcome:
        from vitjax.evaluating.job import metric_request
        from vitjax.explaining.requests import check_needs, request

        kind, text, _ = case
        if kind == "method":
            wanted = request(text)
            check_needs(self.model, wanted)
        else:
            wanted = metric_request(text)
        return "right", wanted.label.partition("(")[0]


class Faulty(Kind):
    """Inputs that die, take memory and hang, to test what runs the inputs."""

    def case(self, rng: np.random.Generator) -> Any:
        return (int(rng.bit_generator.seed_seq.entropy[1]),)  # type: ignore[attr-defined]

    def read(self, case: Any) -> Outcome:
        if case[0] == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if case[0] == 2:
            np.zeros(5 << 28, np.uint8)[::4096] = 1
        if case[0] == 3:
            time.sleep(60)
        return "right", "faulty"


KINDS: dict[str, type[Kind]] = {
    "pictures": Pictures,
    "masks": Masks,
    "labels": Labels,
    "checkpoints": Checkpoints,
    "options": Options,
}
SELF_TEST: dict[str, type[Kind]] = {"faulty": Faulty}
