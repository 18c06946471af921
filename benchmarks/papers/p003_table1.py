"""Paper 003, table 1: segmentation on ImageNet-Segmentation."""

from benchmarks.papers.p003 import METHODS, MODEL, NOTES, SEGMENTATION, SOURCE, WEIGHTS
from benchmarks.papers.protocols import bilinear, squashed
from benchmarks.papers.table import Column, Part, Table

# Transformer-Explainability's protocol: maps are cut at their mean; accuracy and IoU pool the pixels of all pictures.
COLUMNS = (
    Column("Pixel accuracy", "pixel_accuracy", "pooled"),
    Column("mIoU", "mean_iou"),
    Column("mAP", "average_precision"),
)

TABLE = Table(
    name="p003_table1",
    title="VTranM (TokenTM): segmentation of ImageNet-Segmentation",
    source=SOURCE,
    parts=(
        Part(
            name="segmentation",
            model=MODEL,
            weights=WEIGHTS,
            needs=SEGMENTATION,
            images=4276,
            rows=METHODS,
            columns=COLUMNS,
            # That protocol resizes pictures and masks to 224 x 224 without a crop.
            model_as=bilinear,
            source_as=squashed,
        ),
    ),
    notes=NOTES,
)
