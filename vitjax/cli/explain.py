"""Explain a list of image files and write the results: the subcommands `explain` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.cli.figure_arguments import PLAIN, FigureArguments
from vitjax.cli.model_arguments import ModelArguments
from vitjax.data.listing import describe, list_images
from vitjax.errors import ImageError, unknown_name
from vitjax.execution.progress import Progress
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.features import stage_features
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.probabilities import with_probability
from vitjax.explaining.requests import Request, check_methods, expanded, passes, requests_for
from vitjax.explaining.run import explain_many, trace
from vitjax.explaining.targets import resolve_targets
from vitjax.explaining.text_targets import with_target_classes
from vitjax.images.picture import Exif, check_exif
from vitjax.images.reading import check_images
from vitjax.methods import METHODS
from vitjax.models.families import CNNS
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.files import csv_text, write_text
from vitjax.output.names import FileNames
from vitjax.output.terminal import say
from vitjax.output.wording import counted
from vitjax.rundir.manifest import model_record, output_directory, write_manifest

COMPARE_FILES = ("grid.png", "grid.pdf", "index.html")


@dataclass(frozen=True)
class CommandResult:
    """Explanations of one command, and where it writes them.

    explanations: by label, including `cnn_explanation`. out: directory to write to. options: settings for
    manifest.json. cnn_explanation: Grad-CAM of the ResNet shown next to the model, or None. masks: for each image its
    mask or None, bool [h, w] of the image's size; None without masks. names: the names of all files in `out`.
    files: those written so far, by label, for the manifest.
    """

    model: Model
    images: Images
    explanations: dict[str, Explanation]
    out: Path
    options: dict[str, Any]
    cnn_explanation: Explanation | None = None
    masks: list[np.ndarray | None] | None = None
    names: FileNames = field(default_factory=lambda: FileNames(("manifest.json", "predictions.csv", *COMPARE_FILES)))
    files: dict[str, list[Path]] = field(default_factory=dict)

    def save_sheets(self, *, pdf: bool) -> None:
        """Write one figure per image.

        `<image id>_attention.png` shows the attention of every layer and head of a ViT; `<image id>_features.png` shows
        the feature maps of a ResNet.
        """
        from vitjax import plots

        config = self.model.config
        for i, image_id in enumerate(self.images.ids):
            photo, image = self.images.pixels[i], self.images.take([i])
            if isinstance(config, ViTConfig):
                attention = np.asarray(trace(self.model, image, score=None).attention[0])
                sheet, kind = plots.attention_sheet(photo, attention, config.prefix, config.grid), "attention"
            else:
                maps = {stage: outputs[0] for stage, outputs in stage_features(self.model, image).items()}
                sheet, kind = plots.feature_sheet(photo, maps), "features"
            name = self.names.claim(f"{image_id}_{kind}", ".png", ".pdf")
            self.files.setdefault(kind, []).extend(plots.save(sheet, self.out / name, pdf=pdf))

    def finish(self, command: str) -> None:
        """Write predictions.csv, predictions_<cnn>.csv if there is a CNN, and manifest.json; print a summary.

        Args:
            command: name of the subcommand, for the manifest.
        """
        first = next(iter(self.explanations.values()))
        rows = _write_predictions(self.out / "predictions.csv", first)
        cnn_record: dict[str, Any] = {}
        if self.cnn_explanation is not None:
            cnn = self.cnn_explanation.model
            cnn_record["cnn"] = model_record(cnn)
            name = self.names.claim(f"predictions_{cnn.name}", ".csv")
            _write_predictions(self.out / name, self.cnn_explanation)
        distinct = {label: explanation.distinct for label, explanation in self.explanations.items()}
        degenerate = {label: int(explanation.degenerate.sum()) for label, explanation in distinct.items()}
        write_manifest(
            self.out,
            command,
            self.model,
            self.options,
            methods={label: explanation.options for label, explanation in self.explanations.items()},
            degenerate_maps=degenerate,
            completeness_gap={
                label: explanation.completeness_gap().tolist()
                for label, explanation in self.explanations.items()
                if METHODS[explanation.method].complete
            },
            images=[{"id": name, **source} for name, source in zip(self.images.ids, self.images.sources, strict=True)],
            skipped=list(self.images.skipped),
            files={label: [path.name for path in paths] for label, paths in self.files.items()},
            **cnn_record,
        )
        for label, count in degenerate.items():
            if count:
                cause = f"degenerate (constant or not finite){_advice(self.explanations[label])}"
                say(f"{label}: {count} of {len(distinct[label])} maps are {cause}", error=True)
        self._print_summary(rows)

    def _print_summary(self, rows: list[dict[str, Any]]) -> None:
        cnn, one = self.cnn_explanation, self.model.config.num_classes == 1
        agnostic = [label for label, explanation in self.explanations.items() if explanation.class_agnostic]
        only_agnostic, first = len(agnostic) == len(self.explanations), next(iter(self.explanations.values()))
        lines = first.starts if only_agnostic else range(len(rows))
        for i in lines[:10]:
            row = rows[i]
            name, probability = row["predicted_name"] or "no classes", row["predicted_probability"]
            explained = with_probability(row["target_name"], row["target_probability"], sigmoid=one)
            explained = "class-agnostic: the same map for every class" if only_agnostic else f"explained: {explained}"
            say(
                f"{row['image']}: {with_probability(name, probability, sigmoid=one)}"
                + (f", {explained}" if row["target"] != row["predicted"] or len(rows) > len(self.images) else "")
                + (f" | {cnn.model.name}: {cnn.verdict(i)}" if cnn is not None else "")
            )
        if len(lines) > 10:
            say(f"... and {len(lines) - 10} more in predictions.csv")
        skipped = f", {counted(len(self.images.skipped), 'image')} skipped" if self.images.skipped else ""
        maps = f", {len(rows)} maps each" if len(rows) > len(self.images) and not only_agnostic else ""
        maps += f" (class-agnostic, one per image: {', '.join(agnostic)})" if maps and agnostic else ""
        done = f"{counted(len(self.images), 'image')} x {counted(len(self.explanations), 'method')}"
        say(f"{done}{maps}{skipped} -> {self.out}")


def explain_images(
    files: Sequence[Path],
    out: Path,
    *,
    model: ModelArguments,
    methods: Sequence[str | dict[str, Any]],
    target: Any,
    dtype: str,
    batch_size: int,
    seed: int,
    overwrite: bool,
    progress: Progress,
    exif: Exif = "apply",
    cnn: str | None = None,
    cnn_weights: str | None = None,
    figure: FigureArguments = PLAIN,
) -> CommandResult:
    """Explain image files by several methods. All arguments are checked before the first map is computed.

    Args:
        files: image files, or folders whose images are taken; those that cannot be decoded are
            skipped and recorded in `CommandResult.images.skipped`.
        out: directory that the caller will write to, new or empty.
        model: names the model. dtype: as for `vitjax.load`.
        methods, target, batch_size, seed: as for `vitjax.explain_many`; a list of targets gives one map each for every
            image.
        overwrite: whether `out` may contain files.
        progress: progress bar.
        exif: "apply" or "ignore" the EXIF orientation of the images.
        cnn: name of a ResNet whose Grad-CAM of layer4 is added as "NAME grad_cam". It gets the images in its own
            preprocessing, and the same target; without a target, it explains the class that it predicts itself.
        cnn_weights: weights of the ResNet, as for `vitjax.load`.
        figure: names the masks that figures outline, and is recorded in the manifest.

    Returns:
        The explanations; nothing has been written yet.

    Raises:
        ImageError: no images given, a file does not exist, a folder contains no images, or none can be decoded; a mask
            cannot be used.
        OutputError: `out` cannot be written, or is not empty. After any other error no empty directory is left.
        UnknownNameError, WeightsError, ConfigError, LabelError: invalid names, weights, options or targets.
    """
    files = images_of(files)
    check_images(files)
    model.check_images(files)
    mask_of = figure.mask_files(files)
    check_methods(methods)
    check_exif(exif)
    with output_directory(out, overwrite=overwrite):
        if cnn is not None and cnn not in CNNS:
            raise unknown_name("CNN", cnn, CNNS)
        loaded = model.load(dtype, quiet=True)
        loaded_cnn = load(cnn, cnn_weights, dtype=dtype) if cnn is not None else None
        loaded, target_classes = with_target_classes(loaded, target)
        methods = expanded(loaded, methods, target_classes)
        requests = requests_for(loaded, methods, target_classes)
        images = prepare(loaded, list(files), exif=exif, skip_damaged=True)
        masks = figure.read_masks([source["file"] for source in images.sources], mask_of, exif)
        for line in images.remarks():
            say(line, error=True)
        for record in images.skipped:
            say(f"skipped: {record['cause']}", error=True)
        targets = [target_classes] * len(images) if isinstance(target, list) else target_classes
        maps = len(resolve_targets(loaded, targets, len(images)).image_index)
        total = maps * (passes(requests) + (loaded_cnn is not None))
        if loaded_cnn is not None:
            resolve_targets(loaded_cnn, targets, len(images))
        model.announce()
        _say_slow(requests)
        with progress(total, "images") as on_progress:
            explain = partial(explain_many, target=targets, batch_size=batch_size, seed=seed, progress=on_progress)
            explanations: dict[str, Explanation] = explain(loaded, images, methods)
            cnn_explanation = None
            if loaded_cnn is not None:
                cnn_images = prepare(loaded_cnn, [source["file"] for source in images.sources], exif=exif)
                grad_cam = explain(loaded_cnn, cnn_images, ["grad_cam"])["grad_cam"]
                cnn_explanation = replace(grad_cam, label=f"{cnn} grad_cam")
                explanations = {**explanations, cnn_explanation.label: cnn_explanation}
    options = {"target": target, "batch_size": batch_size, "seed": seed, "dtype": dtype, "exif": exif}
    options["figure"] = figure.record()
    return CommandResult(loaded, images, explanations, out, options, cnn_explanation, masks)


def _advice(explanation: Explanation) -> str:
    """What to try in place of a method whose maps are degenerate."""
    if explanation.options.get("relu") is True:
        return f"; {explanation.method}:relu=false shows the negative values"
    others = [name for name in ("transformer_mm", "gradient_x_input") if name != explanation.method]
    return f"; try --methods {others[0] if isinstance(explanation.model.config, ViTConfig) else others[-1]}"


def _say_slow(requests: Sequence[Request]) -> None:
    slow = [
        f"{wanted.label} ({wanted.method.cost} per image{'' if wanted.label == wanted.name else ' by default'})"
        for wanted in requests
        if wanted.method.slow
    ]
    if slow:
        say(f"slow: {', '.join(slow)}", error=True)


def images_of(paths: Sequence[Path]) -> list[Path]:
    """The paths, each folder replaced by the images in it; what else it contains is said on stderr."""
    if not paths:
        raise ImageError("no images given")
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        listing = list_images(path)
        rest = f"; passed over: {describe(listing.skipped)}" if listing.skipped else ""
        if not listing.files:
            raise ImageError(f"{path}: the folder contains no images{rest}")
        say(f"{path}: {len(listing.files)} images{rest}", error=True)
        files += listing.files
    return files


def _write_predictions(path: Path, explanation: Explanation) -> list[dict[str, Any]]:
    """Write a CSV file and return its rows: for each map the predicted and the explained class and the top five.

    A target that is not one class has a name, but no number and no probability. Without a head there are no classes:
    what is predicted, and all probabilities, stay empty, and what is explained too, unless the target names a feature.
    """
    rows = []
    for i, image_id in enumerate(explanation.images.ids):
        caption, top = explanation.caption(i), explanation.best(i)
        rows.append(
            {
                "image": image_id,
                "predicted": int(explanation.predicted[i]) if explanation.has_classes else None,
                "target": int(explanation.target[i]) if explanation.target[i] >= 0 else None,
                "predicted_name": caption["predicted"] if explanation.has_classes else None,
                "predicted_probability": caption["predicted_probability"],
                "target_name": caption["target"] or None,
                "target_probability": caption["target_probability"],
                "top5": ";".join(name for name, _ in top),
                "top5_probabilities": ";".join(f"{probability:.6g}" for _, probability in top),
            }
        )
    write_text(path, csv_text(list(rows[0]), rows))
    return rows
