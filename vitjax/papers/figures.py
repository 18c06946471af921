"""Draws a paper's figures: explanations for all of them in shared passes, the pictures, and the table of relevance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import ConfigError, unknown_name
from vitjax.execution.progress import Progress, Silent
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.features import stage_features
from vitjax.explaining.inputs import Images
from vitjax.explaining.probabilities import probabilities_of
from vitjax.explaining.requests import passes, request, requests_for
from vitjax.explaining.run import explain_many
from vitjax.explaining.targets import resolve_targets
from vitjax.models.model import Model
from vitjax.output.files import csv_text, write_text
from vitjax.output.names import FileNames
from vitjax.output.terminal import say
from vitjax.papers.paper import NEEDS, Figure, Materials, Paper
from vitjax.papers.pictures import Pictures, images_for, masks_for
from vitjax.papers.relevance import COLUMNS, rows_of

CSV = "relevance.csv"


@dataclass(frozen=True)
class Subject:
    """What is explained for the figures, by one model. images and masks are in the order of the pictures."""

    model: Model
    images: Images
    masks: tuple[np.ndarray | None, ...]

    @staticmethod
    def of(model: Model, pictures: Pictures) -> Subject:
        """The pictures and their masks as the model sees them."""
        return Subject(model, images_for(model, pictures), masks_for(model, pictures))

    def take(self, indices: Sequence[int]) -> Subject:
        """The images at these indices, in this order."""
        return Subject(self.model, self.images.take(indices), tuple(self.masks[index] for index in indices))


def chosen_figures(paper: Paper, names: Sequence[str], pictures: Pictures, *, cnn: bool) -> tuple[Figure, ...]:
    """The figures of these names; without names, all for which there is what they need. Others are named on stderr.

    Args:
        cnn: whether there is a ResNet.

    Raises:
        UnknownNameError: the paper has no figure of a name.
        ConfigError: a figure that is named, or every figure, lacks what it needs.
    """
    known = {figure.name: figure for figure in paper.figures}
    for name in names:
        if name not in known:
            raise unknown_name(f"figure of {paper.name}", name, known)
    present = {"masks": pictures.have_masks, "cnn": cnn}
    wanted = [known[name] for name in dict.fromkeys(names)] or list(paper.figures)
    drawn, messages = [], []
    for figure in wanted:
        lacking = [NEEDS[need] for need in sorted(figure.needs) if not present[need]]
        if not lacking:
            drawn.append(figure)
            continue
        message = f"figure {figure.name!r} of {paper.name} {'; '.join(f'{what}: {how}' for what, how in lacking)}"
        if names:
            raise ConfigError(message)
        messages.append(message)
    if not drawn:
        raise ConfigError(messages[0])
    for message in messages:
        say(f"not drawn: {message}", error=True)
    return tuple(drawn)


def draw(
    figures: Sequence[Figure],
    subject: Subject,
    pictures: Pictures,
    out: Path,
    *,
    cnn: Subject | None = None,
    target: Any = None,
    seed: int = 0,
    batch_size: int = 16,
    pdf: bool = False,
    progress: Progress = Silent,
) -> list[Path]:
    """Draw figures of a paper.

    Args:
        figures: as `chosen_figures` returns them.
        subject, cnn: model and ResNet with the images.
        pictures: the pictures.
        out: directory to write `<figure>.png`, `<figure>_<image>.png` and relevance.csv to.
        target: for each image the classes that all figures explain, a list; None for what each figure says.
        seed, batch_size: as for `vitjax.explain_many`.
        pdf: also write PDFs.

    Returns:
        The paths written.

    Raises:
        ConfigError: no image is predicted with the confidence that a figure asks for.
        Also what `vitjax.explain_many` raises.
    """
    from vitjax import plots

    groups = _groups(figures, subject, pictures, target)
    _check(groups, subject, cnn)
    names, written, rows = FileNames((CSV,)), [], {}
    total = sum(group.maps(subject.model) * group.passes(subject.model) for group in groups)
    with progress(total, "images") as on_progress:
        options = {"batch_size": batch_size, "seed": seed, "progress": on_progress}
        for group in groups:
            drawings, explained = group.drawn(subject.take(group.indices), cnn and cnn.take(group.indices), options)
            for name, drawing in drawings:
                written += plots.save(drawing, out / names.claim(name, ".png", ".pdf"), pdf=pdf)
            for explanation, masks in explained:
                for row in rows_of(explanation, masks):
                    rows[row["model"], row["method"], row["image"], row["target"]] = row
    return [*written, write_text(out / CSV, csv_text(COLUMNS, rows.values()))]


@dataclass(frozen=True)
class _Group:
    """Figures of the same images, explained for the same targets, so that one shared pass serves them all."""

    figures: tuple[Figure, ...]
    indices: tuple[int, ...]
    targets: Any

    def requests(self, *, cnn: bool = False) -> list[str | dict[str, Any]]:
        """The requests of all figures, each once."""
        wanted = [
            method for figure in self.figures for method in (figure.cnn_methods if cnn else figure.methods).values()
        ]
        return list({request(method).label: method for method in wanted}.values())

    def maps(self, model: Model) -> int:
        """How many maps each method has: one for each target of each image."""
        return len(resolve_targets(model, self.targets, len(self.indices)).image_index)

    def passes(self, model: Model) -> int:
        """How many times the explanation of the group counts each image, see `passes` of requests."""
        return passes(requests_for(model, self.requests())) + bool(self.requests(cnn=True))

    def drawn(self, subject: Subject, cnn: Subject | None, options: Mapping[str, Any]) -> Any:
        """([(name of the file, figure)], [(explanation, its masks)])."""
        ours = explain_many(subject.model, subject.images, self.requests(), self.targets, **options)
        of_cnn: dict[str, Explanation] = {}
        if cnn is not None and self.requests(cnn=True):
            of_cnn = explain_many(cnn.model, cnn.images, self.requests(cnn=True), self.targets, **options)
        features: tuple[Mapping[str, np.ndarray], ...] = ()
        if cnn is not None and any(figure.features for figure in self.figures):
            stages = stage_features(cnn.model, cnn.images)
            features = tuple({name: maps[i] for name, maps in stages.items()} for i in range(len(cnn.images)))
        drawings = []
        for figure in self.figures:
            materials = Materials(
                {title: ours[request(method).label] for title, method in figure.methods.items()},
                {title: of_cnn[request(method).label] for title, method in figure.cnn_methods.items()},
                subject.masks,
                features,
            )
            for image, drawing in figure.draw(materials).items():
                drawings.append((f"{figure.name}_{image}" if image else figure.name, drawing))
        explained = [(explanation, _per_map(explanation, subject.masks)) for explanation in ours.values()]
        explained += [
            (explanation, _per_map(explanation, cnn.masks)) for explanation in of_cnn.values() if cnn is not None
        ]
        return drawings, explained


def _per_map(explanation: Explanation, masks: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    return [masks[index] for index in explanation.image_index]


def _groups(figures: Sequence[Figure], subject: Subject, pictures: Pictures, target: Any) -> list[_Group]:
    """The figures by what they explain.

    Raises:
        ConfigError: no image is predicted with the confidence that a figure asks for.
    """
    grouped: dict[tuple[float, bool], list[Figure]] = {}
    for figure in figures:
        own = target is None and figure.targets is not None
        grouped.setdefault((figure.min_confidence, own), []).append(figure)
    groups = []
    for (confidence, own), members in grouped.items():
        indices = _confident(subject, confidence, members[0].name) if confidence else tuple(range(len(pictures)))
        chosen: Any = pictures.take(indices).targets or [members[0].targets] * len(indices)
        targets = chosen if own else None if target is None else [target] * len(indices)
        groups.append(_Group(tuple(members), indices, targets))
    return groups


def _confident(subject: Subject, least: float, figure: str) -> tuple[int, ...]:
    """Indices of the images whose predicted class has at least this probability."""
    largest = probabilities_of(np.asarray(subject.model.logits(subject.images.x))).max(axis=-1)
    indices = tuple(int(index) for index in np.flatnonzero(largest >= least))
    if not indices:
        raise ConfigError(
            f"figure {figure!r} shows images predicted with a probability of at least {least}; the largest of these "
            f"{len(largest)} is {largest.max():.2f}"
        )
    if len(indices) < len(largest):
        left_out = [name for index, name in enumerate(subject.images.ids) if index not in indices]
        say(f"figure {figure!r}: left out, predicted below {least}: {', '.join(left_out)}", error=True)
    return indices


def _check(groups: Iterable[_Group], subject: Subject, cnn: Subject | None) -> None:
    """Check requests and targets before anything is computed."""
    for group in groups:
        wanted = requests_for(subject.model, group.requests())
        slow = [f"{entry.label} ({entry.method.cost} per image)" for entry in wanted if entry.method.slow]
        if slow:
            say(f"slow: {', '.join(slow)}", error=True)
        if cnn is not None and group.requests(cnn=True):
            resolve_targets(cnn.model, group.targets, len(group.indices))
