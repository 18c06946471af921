"""Wu et al. 2024 (VTranM, published as TokenTM): segmentation, perturbation and ablation."""

from __future__ import annotations

from vitjax.papers.drawing import method_grid
from vitjax.papers.paper import Figure, Paper
from vitjax.papers.protocols import bilinear, squashed, squashed_inputs
from vitjax.papers.table import BASELINES, Column, Part, Row, Table

MODEL = "vit_base_patch16_224"
WEIGHTS = "google/vit-base-patch16-224"  # as in Transformer-Explainability, whose protocol the paper follows
SOURCE = (
    "none: the copies of arXiv 2403.14552 (CVPR 2024) that we could read lack its tables, and no code was published. A "
    "third party's index (wizwand.com) lists values of the method alone, without table, model or protocol, among them "
    "pixel accuracies of 81.43 and 81.79 %, which cannot be assigned to a line"
)
SEGMENTATION = (
    "ImageNet-Segmentation, gtsegs_ijcv.mat (Guillaumin et al. 2014: 4,276 images with masks); then "
    "--data imagenet-seg:gtsegs_ijcv.mat"
)
PERTURBATION = (
    "ImageNet's validation set with labels: --data tfds:imagenet2012:validation (prepared as array_record), or "
    "--data folder:DIR with one folder per class. CIFAR: --data tfds:cifar10:test or tfds:cifar100:test with "
    "--weights FILE of a ViT-B/16 trained on it and --num-classes 10 or 100"
)
NOTES = (
    "We inferred from the paper's text which value belongs to which of its tables.",
    "For the paper's ViT-L and DeiT pass --model NAME. The paper does not name its weights; ours are those of Google's "
    "first ViT-B/16.",
)

METHODS = (
    Row("Grad-CAM", "grad_cam"),
    Row("LRP", "lrp"),
    Row("Conservative LRP", "conservative_lrp"),
    Row("Transformer attribution", "transformer_attribution"),
    # The scripts of Transformer-Explainability start at block 1, without the first block.
    Row("Transformer attribution (from block 1)", {"method": "transformer_attribution", "start_layer": 1}),
    Row("Raw attention", "raw_attention"),
    Row("Rollout", "rollout"),
    Row("Rollout (from block 1)", {"method": "rollout", "start_layer": 1}),
    Row("AttCAT", "attcat"),
    Row("Transformer-MM", "transformer_mm"),
    Row("VTranM", "vtranm"),
    *BASELINES,
)
# From the baseline of eq. 8 to the complete method. Aggregation alone equals Transformer-MM with the probability in
# place of the logit.
ABLATIONS = (
    Row("Last block alone", {"method": "vtranm", "aggregate": False}),
    Row("Aggregation", {"method": "vtranm", "length": False, "necc": False}),
    Row("Aggregation + length", {"method": "vtranm", "necc": False}),
    Row("Aggregation + length + NECC", "vtranm"),
    *BASELINES,
)

# The protocol of Transformer-Explainability: maps are thresholded at their mean; accuracy and IoU pool the pixels of
# all images.
SEGMENTED = (
    Column("Pixel accuracy", "pixel_accuracy", "pooled"),
    Column("mIoU", "mean_iou"),
    Column("mAP", "average_precision"),
)


def segmentation(rows: tuple[Row, ...]) -> Part:
    """The part of a table that scores maps against masks. Images and masks are resized to 224 x 224 without a crop."""
    return Part(
        name="segmentation",
        model=MODEL,
        weights=WEIGHTS,
        needs=SEGMENTATION,
        images=4276,
        rows=rows,
        columns=SEGMENTED,
        model_as=bilinear,
        source_as=squashed,
    )


def perturbation(name: str, rows: tuple[Row, ...], columns: tuple[Column, ...], **options: str) -> Part:
    """The part of a table that scores maps by removing pixels."""
    return Part(
        name=name, model=MODEL, weights=WEIGHTS, needs=PERTURBATION, rows=rows, columns=columns, options=options
    )


# 0, 5 ... 100 % of the pixels are replaced by the mean colour.
AUC = {"metric": "perturbation_auc", "chunk": 7}
PREDICTED = (Column("Neg, predicted", AUC, "negative"), Column("Pos, predicted", AUC, "positive"))
TARGET = (Column("Neg, target", AUC, "negative_label"), Column("Pos, target", AUC, "positive_label"))
SHARED = (Column("AOPC", {"metric": "aopc", "chunk": 7}), Column("LOdds", {"metric": "log_odds", "chunk": 7}))

TABLE1 = Table(
    name="table1",
    title="VTranM (TokenTM): segmentation of ImageNet-Segmentation",
    source=SOURCE,
    parts=(segmentation(METHODS),),
    notes=NOTES,
)

TABLE2 = Table(
    name="table2",
    title="VTranM (TokenTM): AUC of accuracy while pixels are removed, least (neg) or most (pos) relevant ones first",
    source=SOURCE,
    parts=(perturbation("predicted", METHODS, PREDICTED), perturbation("target", METHODS, TARGET, target="label")),
    notes=(
        *NOTES,
        "Predicted: maps of the predicted class, scored by whether this class is still predicted. Target: maps of the "
        "true class, scored by whether the true class is predicted.",
    ),
)

TABLE3 = Table(
    name="table3",
    title="VTranM (TokenTM): AOPC (higher is better) and log-odds (lower is better), eqs. 21 and 22",
    source=SOURCE,
    parts=(perturbation("predicted", METHODS, SHARED),),
    notes=NOTES,
)

TABLE4 = Table(
    name="table4",
    title="VTranM (TokenTM): ablation of aggregation, lengths and NECC",
    source=SOURCE,
    parts=(
        segmentation(ABLATIONS),
        perturbation("perturbation", ABLATIONS, (*PREDICTED, *SHARED)),
    ),
    notes=(
        *NOTES,
        "The two parts need different data sets: run the command twice with the same directory, with --parts "
        "segmentation and with --parts perturbation.",
    ),
)


FIGURES = (
    Figure(
        "grid",
        "the methods that the paper compares; --target with two classes shows both objects of an image",
        {
            "Grad-CAM": "grad_cam",
            "LRP": "lrp",
            "Conservative LRP": "conservative_lrp",
            "Transformer attribution": "transformer_attribution",
            "Raw attention": "raw_attention",
            "Rollout": "rollout",
            "AttCAT": "attcat",
            "Transformer-MM": "transformer_mm",
            "VTranM": "vtranm",
        },
        method_grid(),
    ),
    Figure(
        "ablation",
        "from the gradient-weighted attention of the last block to the complete method",
        {row.name: row.method for row in ABLATIONS if row not in BASELINES},
        method_grid(),
    ),
)

PAPER = Paper(
    name="vtranm2024",
    title="Wu et al. 2024: VTranM (published as TokenTM)",
    tables=(TABLE1, TABLE2, TABLE3, TABLE4),
    figures=FIGURES,
    model=MODEL,
    weights=WEIGHTS,
    model_as=squashed_inputs,
)
