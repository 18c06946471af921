"""Coporan 2025, table 4: deletion and the pointing game on PASCAL VOC.

Run:     python -m benchmarks.papers p002_table4 --data voc:VOCdevkit/VOC2012 [--slow]
Prints:  deletion, insertion and pointing game in percent for each method, next to the paper's values
"""

from benchmarks.papers.p002 import MODEL, NEEDS, NOTES, SOURCE, WEIGHTS, rows
from benchmarks.papers.protocols import not_normalised, squashed_with_void
from benchmarks.papers.table import Column, Part, Table

# 100 steps of 501 pixels leave 76 of the 224 x 224 pixels unchanged. argsort orders ties by the position of the pixel.
STEPS = {"step": 501, "steps": 100, "ties": "first", "chunk": 25}

TABLE = Table(
    name="p002_table4",
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
            options={"min_confidence": 0.85},
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
