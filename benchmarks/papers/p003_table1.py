"""Wu et al. 2024 (VTranM), table 1: segmentation on ImageNet-Segmentation.

Run:     python -m benchmarks.papers p003_table1 --data imagenet-seg:gtsegs_ijcv.mat
Prints:  pixel accuracy, mIoU and mAP in percent for each method; the paper's values are not available
"""

from benchmarks.papers.p003 import METHODS, MODEL, NOTES, SEGMENTATION, SOURCE, WEIGHTS
from benchmarks.papers.protocols import bilinear, squashed
from benchmarks.papers.table import Column, Part, Table

# The protocol of Transformer-Explainability: maps are thresholded at their mean; accuracy and IoU pool the pixels of
# all images.
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
            # The protocol resizes images and masks to 224 x 224 without a crop.
            model_as=bilinear,
            source_as=squashed,
        ),
    ),
    notes=NOTES,
)
