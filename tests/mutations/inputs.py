"""The kinds of inputs: valid ones, and what reads a mutated one. A reader returns an outcome and its cause."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from tests.mutations.engine import mutated, mutated_text

Outcome = tuple[str, str]
"""("refused" | "status" | "right" | "other" | "fault", cause). "other" is a valid input that means something else."""
PARTIAL = {"truncate", "zero_to_the_end"}
"""Mutations after which the end of the data is missing, which every reader must notice."""
NOTICED, NOTICED_BYTES = 0.05, 100
"""Share and number of the bytes that must be missing: the last ones of a file may be zeros (see docs/failures.md)."""
ROW_BYTES = {"rgb.bmp": 480, "rgb.tif": 480, "grey.ppm": 160}
"""Uncompressed pictures. Zeros from the beginning of a row to the end are a black area."""
CHECKED = (".png",)
"""Formats with checksums: no damage changes the pixels."""


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

    def __init__(self, folder: Path) -> None:
        from vitjax.images.reading import Preprocessing

        super().__init__(folder)
        self.seeds = self._seeds()
        self.preprocessing = Preprocessing((64, 64))
        self.whole = {name: self._decode(name, content) for name, content in self.seeds.items()}
        refused = {name: decoded.cause for name, decoded in self.whole.items() if decoded.status != "ok"}
        assert not refused, f"valid files are refused: {refused}"

    def _seeds(self) -> dict[str, bytes]:
        from PIL import Image, features

        rgb = _photo(0)
        sixteen = Image.fromarray(np.arange(160 * 120, dtype=np.uint16).reshape(120, 160))
        seeds = {
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
            "rgb.jp2": _encoded(rgb, "JPEG2000"),
        }
        return seeds | ({"rgb.avif": _encoded(rgb, "AVIF")} if features.check("avif") else {})

    def case(self, rng: np.random.Generator) -> Any:
        name, other = rng.choice(list(self.seeds), 2)
        return str(name), *mutated(rng, self.seeds[str(name)], self.seeds[str(other)])

    def _raw(self, path: Path) -> Any:
        from vitjax.data.source import Raw

        return Raw(path)

    def _decode(self, name: str, content: bytes) -> Any:
        from vitjax.data.decode import decode

        path = self.folder / name
        path.write_bytes(content)
        raw = self._raw(path)
        source = SimpleNamespace(name="source", ids=("a",), resize="timm", read=lambda index: raw)
        return decode(source, 0, self.preprocessing)

    def unnoticed(self, name: str, missing: int) -> set[str]:
        """Mutations that take away the last bytes of this file and leave a file that is as valid."""
        at_a_row = name in ROW_BYTES and (missing + 3) % ROW_BYTES[name] < 7  # within a pixel
        return {"zero_to_the_end"} if at_a_row else set()

    def read(self, case: Any) -> Outcome:
        name, content, operations = case
        decoded, whole = self._decode(name, content), self.whole[name]
        if decoded.status != "ok":
            return "status", decoded.cause
        seed = self.seeds[name]
        differs = (i for i, (a, b) in enumerate(zip(content, seed, strict=False)) if a != b)
        missing = len(seed) - next(differs, min(len(content), len(seed)))
        same = np.array_equal(decoded.mask, whole.mask) and np.array_equal(decoded.pixels, whole.pixels)
        partial = set(operations.split("+")) <= PARTIAL - self.unnoticed(name, missing)
        partial = partial and missing > max(NOTICED * len(seed), NOTICED_BYTES)
        if not same and (partial or name.endswith(CHECKED)):
            return (
                "fault",
                f"a part of {name} is taken for the whole" if partial else f"damage of {name} is not noticed",
            )
        return ("right" if same else "other"), name


class Masks(Pictures):
    """Masks in the formats and modes that are read, with what a source declares of their values."""

    declared: ClassVar[dict[str, dict[str, int]]] = {
        "classes.png": {"ignore": 255, "values": 21},
        "palette.png": {"ignore": 255, "values": 21},
        "sixteen.png": {"ignore": -1},
        "imagenet_s.png": {"ignore": 1000, "values": 920},
    }

    def _seeds(self) -> dict[str, bytes]:
        from PIL import Image, features

        y, x = np.mgrid[:120, :160]
        inside = ((x - 90) / 60) ** 2 + ((y - 70) / 48) ** 2 < 1
        binary = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))
        classes = np.where(inside, 1 + x // 40 + 4 * (y // 30), 0).astype(np.uint8)
        classes[(y % 30 == 0) & inside] = 255
        palette = Image.fromarray(classes, "P")
        palette.putpalette(list(np.random.default_rng(0).integers(0, 256, 768, np.uint8)))
        large = np.where(inside, 200 + 40 * classes.astype(np.int64), 0)
        large[classes == 255] = 1000
        colours = np.stack([large % 256, large // 256, 0 * large], -1).astype(np.uint8)
        seeds = {
            "object.jpg": _encoded(binary, "JPEG"),
            "progressive.jpg": _encoded(binary, "JPEG", progressive=True),
            "object.png": _encoded(binary, "PNG"),
            "smooth.png": _encoded(binary.resize((80, 60)).resize((160, 120), Image.Resampling.BICUBIC), "PNG"),
            "classes.png": _encoded(Image.fromarray(classes), "PNG"),
            "palette.png": _encoded(palette, "PNG"),
            "sixteen.png": _encoded(Image.fromarray(large.astype(np.uint16)), "PNG"),
            "imagenet_s.png": _encoded(Image.fromarray(colours), "PNG"),
            "one_bit.png": _encoded(binary.convert("1"), "PNG"),
            "object.webp": _encoded(binary, "WEBP"),
            "lossless.webp": _encoded(binary, "WEBP", lossless=True),
            "object.tif": _encoded(binary, "TIFF"),
            "lzw.tif": _encoded(binary, "TIFF", compression="tiff_lzw"),
            "object.bmp": _encoded(binary, "BMP"),
            "object.gif": _encoded(binary, "GIF"),
            "object.ppm": _encoded(binary, "PPM"),
            "object.jp2": _encoded(binary, "JPEG2000"),
        }
        return seeds | ({"object.avif": _encoded(binary, "AVIF")} if features.check("avif") else {})

    def _raw(self, path: Path) -> Any:
        from vitjax.data.source import Raw

        return Raw(np.full((120, 160, 3), 9, np.uint8), path, **self.declared.get(path.name, {}))

    def unnoticed(self, name: str, missing: int) -> set[str]:
        # Most of an object mask is zeros, so that zeros at the end of uncompressed data may be background.
        return {"zero_to_the_end"} if name in ("object.tif", "object.bmp", "object.ppm") else set()


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


def _runs(folder: Path) -> Kind:
    from tests.mutations.runs import Runs

    return Runs(folder)


KINDS: dict[str, Callable[[Path], Kind]] = {
    "pictures": Pictures,
    "masks": Masks,
    "labels": Labels,
    "checkpoints": Checkpoints,
    "options": Options,
    "runs": _runs,
}
SELF_TEST: dict[str, Callable[[Path], Kind]] = {"faulty": Faulty}
