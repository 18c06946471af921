"""The subcommand `paper`: figures and tables of published papers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vitjax.cli.arguments import (
    Count,
    OptionalCount,
    OptionalDirectory,
    OptionalText,
    ProgressBar,
    Seed,
    Targets,
    Texts,
    flat,
    option,
    parse_targets,
)
from vitjax.cli.model_arguments import ModelArguments, ModelOption
from vitjax.cli.paper_tables import OWN, PAPERS_OWN, chosen_parts, compute, model_of
from vitjax.errors import ConfigError, unknown_name
from vitjax.execution.stopping import resumes
from vitjax.output.terminal import say

if TYPE_CHECKING:
    from vitjax.papers.paper import Paper
    from vitjax.papers.pictures import Pictures

PaperName = Annotated[str | None, tyro.conf.Positional, option(metavar="[PAPER]")]
Images = Annotated[tuple[Path, ...], tyro.conf.Positional, option(metavar="[IMG ...]")]
OptionalOut = Annotated[Path | None, option(name="out", aliases=["-o"], metavar="DIR")]
Figures = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="FIGURE [FIGURE ...]")]
Tables = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="TABLE [TABLE ...]")]
Parts = Annotated[Texts, tyro.conf.UseAppendAction, option(metavar="PART [PART ...]")]
Data = Annotated[str | None, option(metavar="SPEC")]
Weights = Annotated[str | None, option(metavar="SOURCE")]


def paper(
    name: PaperName = None,
    images: Images = (),
    out: OptionalOut = None,
    model: ModelOption = OWN,
    figures: Figures = (),
    scenes: OptionalCount = None,
    masks: OptionalDirectory = None,
    target: Targets = (),
    cnn: OptionalText = None,
    cnn_weights: Weights = None,
    data: Data = None,
    tables: Tables = (),
    parts: Parts = (),
    limit: OptionalCount = None,
    slow: bool = False,
    batch_size: Count = 16,
    workers: OptionalCount = None,
    cache: OptionalDirectory = None,
    seed: Seed = 0,
    pdf: bool = False,
    overwrite: bool = False,
) -> None:
    """Draw the figures of a paper from images, and compute its tables on a data set, beside the published values.

    Without images and data, the figures and tables of the paper are listed with what they need; without a paper, those
    of all papers. Images are drawn to DIR/figures, and tables written to DIR; rerunning a table resumes it.

    Args:
        name: das2025, joita2025, coporan2025 or vtranm2024.
        images: image files for the figures; of a folder, all images in it.
        out: directory to write; out/papers/PAPER if not given.
        figures: names of figures; if not given, all for which there is what they need.
        scenes: draw the figures from this many bundled scenes of two objects, which have masks, with the bundled model
            unless --model names another.
        masks: directory of masks <image name>.png of the objects; for tables they replace those of the data set.
        target: class number, class name, "top2", "topK" or "A - B", as for `vitjax explain`; several give one row each.
            If not given, each figure's own: the predicted class for most.
        cnn: name of a ResNet (resnet50) for the figures and tables that show one.
        cnn_weights: checkpoint file or hub id of the ResNet; its default weights if not given.
        data: data set for the tables: folder:DIR, voc:DIR, imagenet-seg:FILE, tfds:NAME:SPLIT or scenes:N.
        tables: names of tables, as in table3; all of the paper if not given.
        parts: parts of the tables to compute; completed parts in the directory stay in the tables.
        limit: number of images of the data set; the first ones are used.
        slow: also compute rows of slow methods (attention flow, ViT-CX) in tables.
        batch_size: images in one device call.
        workers: number of processes that decode the data set; 0 decodes in threads.
        cache: directory for decoded images of the data set.
        seed: seed of methods that draw random numbers.
        pdf: also write the figures as PDFs with vector text.
        overwrite: write into a directory of figures that is not empty; files of the same name are replaced.
    """
    from vitjax.papers import PAPERS

    if name is not None and name not in PAPERS:
        raise unknown_name("paper", name, PAPERS)
    draws, computes = bool(images) or scenes is not None, data is not None
    _check_flags(draws, computes, {"figures": figures, "target": target}, {"tables": tables, "parts": parts})
    if name is None or not (draws or computes):
        say("\n\n".join(listing(listed) for listed in PAPERS.values() if name in (None, listed.name)))
        return
    chosen = PAPERS[name]
    folder = out or Path("out") / "papers" / name
    wanted = chosen_parts(chosen, flat(tables), flat(parts), cnn=cnn is not None) if computes else []
    if draws:
        options = {"target": target, "seed": seed, "batch_size": batch_size, "pdf": pdf, "overwrite": overwrite}
        pictures = _pictures(images, scenes, masks)
        model = replace(model, model="vitjax_scenes") if scenes is not None and model.model == PAPERS_OWN else model
        _draw(chosen, flat(figures), pictures, folder / "figures", model, (cnn, cnn_weights), options)
    if data is not None:
        execution = {"batch_size": batch_size, "workers": workers, "cache": cache, "progress": ProgressBar}
        if not draws:  # figures are not drawn again into a directory that has them
            resumes(folder)
        options = {"masks": masks, "limit": limit, "slow": slow, **execution}
        compute(wanted, folder, model, cnn_weights, data, options)


def listing(paper: Paper) -> str:
    """The figures and tables of a paper, and what each needs, in lines of at most 100 characters."""
    from vitjax.papers.paper import NEEDS

    lines = [f"{paper.name}: {paper.title}", "", f"  figures of {paper.model}, from IMG ... or --scenes N"]
    needs = {figure.name: ", ".join(NEEDS[need][0] for need in sorted(figure.needs)) for figure in paper.figures}
    lines += [_entry(figure.name, figure.title, 4, needs[figure.name]) for figure in paper.figures]
    needed = sorted({need for figure in paper.figures for need in figure.needs})
    lines += [_entry(NEEDS[need][0], NEEDS[need][1], 4) for need in needed]
    lines += ["", "  tables, from --data SPEC"]
    for table in paper.tables:
        lines.append(_entry(table.name, table.title, 4))
        grouped: dict[str, list[str]] = {}
        for part in table.parts:
            grouped.setdefault(part.needs, []).append(f"{part.name} ({part.model})")
        lines += [_entry(f"data of {', '.join(names)}", needs, 6) for needs, names in grouped.items()]
        lines.append(_entry("published values", table.source, 6))
    return "\n".join(lines)


def _entry(name: str, text: str, indent: int, needed: str = "") -> str:
    mark = f" ({needed})" if needed else ""
    return textwrap.fill(
        f"{name}{mark}: {text}",
        100,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _check_flags(draws: bool, computes: bool, of_figures: dict[str, Any], of_tables: dict[str, Any]) -> None:
    """Check that no flag is given that would have no effect.

    Raises:
        ConfigError: a flag of figures without images, or of tables without data.
    """
    for needed, flags, what in ((draws, of_figures, "images, or --scenes N"), (computes, of_tables, "--data SPEC")):
        for flag, value in flags.items():
            if value and not needed:
                raise ConfigError(f"--{flag} needs {what}")


def _pictures(images: Sequence[Path], scenes: int | None, masks: Path | None) -> Pictures:
    from vitjax.cli.explain import images_of
    from vitjax.papers.pictures import pictures_of_files, pictures_of_scenes

    if scenes is None:
        return pictures_of_files(images_of(images), masks)
    if images or masks is not None:
        raise ConfigError("--scenes takes no images and no --masks: the scenes have masks of their own")
    return pictures_of_scenes(scenes)


def _draw(
    paper: Paper,
    names: Sequence[str],
    pictures: Pictures,
    out: Path,
    model: ModelArguments,
    cnn: tuple[str | None, str | None],
    options: dict[str, Any],
) -> None:
    """Draw figures into `out`, and print the paths of what was written."""
    from vitjax.models.families import CNNS
    from vitjax.models.load import load
    from vitjax.papers.figures import Subject, chosen_figures, draw
    from vitjax.rundir.manifest import model_record, output_directory, write_manifest

    cnn_name, cnn_weights = cnn
    if cnn_name is not None and cnn_name not in CNNS:
        raise unknown_name("CNN", cnn_name, CNNS)
    figures = chosen_figures(paper, names, pictures, cnn=cnn_name is not None)
    target = parse_targets(options.pop("target"))
    with output_directory(out, overwrite=options.pop("overwrite")):
        subject = Subject.of(paper.model_as(model_of(model, paper.model, paper.weights)), pictures)
        with_cnn: dict[str, Any] = {}
        if cnn_name is not None and any(figure.cnn_methods for figure in figures):
            resnet = Subject.of(paper.cnn_as(load(cnn_name, cnn_weights)), pictures)
            with_cnn = {"cnn": resnet}
        written = draw(figures, subject, pictures, out, target=target, progress=ProgressBar, **with_cnn, **options)
    settings = {"paper": paper.name, "figures": [figure.name for figure in figures], "target": target, **options}
    records = {name: model_record(subject.model) for name, subject in with_cnn.items()}
    written.append(
        write_manifest(out, "paper", subject.model, settings, images=list(subject.images.sources), **records)
    )
    for path in written:
        say(path)
