"""Coporan 2025, table 3: how well thresholded maps segment the objects of PASCAL VOC.

Run:     python -m benchmarks.papers p002_table3 --data voc:VOCdevkit/VOC2012 [--slow]
Prints:  Jaccard index, F1 and pixel accuracy in percent for each method, next to the paper's values
"""

from benchmarks.papers.p002 import MODEL, NEEDS, NOTES, SOURCE, WEIGHTS, rows
from benchmarks.papers.protocols import not_normalised, squashed_with_void
from benchmarks.papers.table import Column, Part, Table

TABLE = Table(
    name="p002_table3",
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
            options={"min_confidence": 0.85},
            model_as=not_normalised,
            source_as=squashed_with_void,
        ),
    ),
    notes=NOTES,
)
