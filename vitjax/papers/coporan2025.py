"""Coporan 2025: a survey of explanations on PASCAL VOC 2012 with ViT-B/16."""

from __future__ import annotations

from collections.abc import Mapping

from vitjax.papers.drawing import method_grid
from vitjax.papers.paper import Figure, Paper
from vitjax.papers.protocols import not_normalised, squashed_inputs, squashed_with_void
from vitjax.papers.table import BASELINES, Column, Part, Row, Table

MODEL = "vit_base_patch16_224"
# The notebook uses the model of Transformer-Explainability, which loads Google's first ViT-B/16. timm's default weights
# of that name come from a later training.
WEIGHTS = "google/vit-base-patch16-224"
CONFIDENCE = 0.85
"""Least probability of the predicted class."""
NEEDS = "PASCAL VOC 2012 (VOCtrainval_11-May-2012.tar), unpacked; then --data voc:VOCdevkit/VOC2012"
SOURCE = "outputs of the notebook anacopo/TSW, TSW.ipynb (the report next to it is a PDF that could not be read)"
NOTES = (
    "As published, images are resized to 224 x 224 without a crop and fed in [0, 1], without the normalisation that "
    "the model was trained with; VOC's void borders count as object.",
    "The notebook's LRP is transformer attribution (its method='transformer_attribution').",
    "CAM is zero everywhere on some images. The notebook scores them (as an empty mask, with the peak at the first "
    "pixel); here they are excluded.",
    "We inferred which of the notebook's values belong to table 3 and which to table 4.",
)


def rows(cam: Mapping[str, float], lrp: Mapping[str, float]) -> tuple[Row, ...]:
    """The survey's methods; slow ones (attention flow, ViT-CX) need --slow.

    Args:
        cam, lrp: the notebook's values of CAM and LRP by column; it has none of other methods.
    """
    return (
        Row("CAM", "grad_cam", cam),
        Row("LRP (as published: transformer attribution)", "transformer_attribution", lrp),
        Row("LRP (canonical, to the pixels)", "lrp"),
        Row("Attention rollout", "rollout"),
        Row("Attention flow", "attention_flow"),
        Row("Transition attention maps", "tam"),
        Row("Attention-guided CAM", "ag_cam"),
        Row("ViT-CX", "vit_cx"),
        *BASELINES,
    )


TABLE3 = Table(
    name="table3",
    title=(
        "Survey of ViT explanations: maps thresholded at 0.5 compared with the objects of VOC 2012 val, on images with "
        "a confidence of at least 0.85"
    ),
    source=SOURCE,
    parts=(
        Part(
            name="segmentation",
            model=MODEL,
            weights=WEIGHTS,
            needs=NEEDS,
            images=1449,
            rows=rows(
                cam={"Jaccard": 4.3563, "F1": 7.4916, "Pixel accuracy": 66.4964},
                lrp={"Jaccard": 14.2886, "F1": 22.9618, "Pixel accuracy": 70.3548},
            ),
            columns=(
                Column("Jaccard", {"metric": "jaccard", "threshold": 0.5}),
                Column("F1", {"metric": "f1", "threshold": 0.5}),
                Column("Pixel accuracy", {"metric": "pixel_accuracy", "threshold": 0.5}),
            ),
            options={"min_confidence": CONFIDENCE},
            model_as=not_normalised,
            source_as=squashed_with_void,
        ),
    ),
    notes=NOTES,
)

# 100 steps of 501 pixels leave 76 of the 224 x 224 pixels unchanged. argsort orders ties by the position of the pixel.
STEPS = {"step": 501, "steps": 100, "ties": "first", "chunk": 25}

TABLE4 = Table(
    name="table4",
    title=(
        "Survey of ViT explanations: deletion on images of VOC 2012 val with a confidence of at least 0.85, pointing "
        "game on all images"
    ),
    source=SOURCE,
    parts=(
        Part(
            name="deletion",
            model=MODEL,
            weights=WEIGHTS,
            needs=NEEDS,
            images=1449,
            rows=rows(cam={"Deletion": 24.6727}, lrp={"Deletion": 12.4307}),
            columns=(
                Column("Deletion", {"metric": "deletion", **STEPS}),
                # The survey describes insertion; the notebook does not compute it.
                Column("Insertion", {"metric": "insertion", **STEPS}),
            ),
            options={"min_confidence": CONFIDENCE},
            model_as=not_normalised,
            source_as=squashed_with_void,
        ),
        Part(
            name="pointing",
            model=MODEL,
            weights=WEIGHTS,
            needs=NEEDS,
            images=1449,
            rows=rows(cam={"Pointing game": 44.24}, lrp={"Pointing game": 71.98}),
            columns=(Column("Pointing game", "pointing_game"),),
            model_as=not_normalised,
            source_as=squashed_with_void,
        ),
    ),
    notes=NOTES,
)


FIGURES = (
    Figure(
        "grid",
        "eight methods in two rows, on images that are predicted with a probability of at least 0.85",
        {
            "CAM": "grad_cam",
            "LRP (transformer attribution)": "transformer_attribution",
            "LRP (to the pixels)": "lrp",
            "Attention rollout": "rollout",
            "Attention flow": "attention_flow",
            "Transition attention maps": "tam",
            "Attention-guided CAM": "ag_cam",
            "ViT-CX": "vit_cx",
        },
        method_grid(columns=4),
        min_confidence=CONFIDENCE,
    ),
)

PAPER = Paper(
    name="coporan2025",
    title="Coporan 2025: survey of explanations of ViT-B/16",
    tables=(TABLE3, TABLE4),
    figures=FIGURES,
    model=MODEL,
    weights=WEIGHTS,
    # Normalised, unlike the tables: without it, other models than the paper's are seldom confident.
    model_as=squashed_inputs,
)
