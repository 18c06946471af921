"""Joita 2025: rollout, GMAR and LeGrad compared with the object masks of 14 images of PASCAL VOC."""

from vitjax.papers.drawing import mask_column
from vitjax.papers.paper import Figure, Paper
from vitjax.papers.protocols import whole_mask_on_grid
from vitjax.papers.table import BASELINES, Column, Part, Row, Table

# Maps are min-max scaled and thresholded at 0.5 on the patch grid, where `WholeMaskOnGrid` also puts the masks.
ON_GRID = {"resolution": "grid", "mask_to_grid": "centre"}
PIXEL_ACCURACY, IOU, AP = "Pixel accuracy", "mIoU", "mAP"


def figures(pixel_accuracy: float, iou: float, ap: float) -> dict[str, float]:
    """The paper's values in percent, by column."""
    return {PIXEL_ACCURACY: pixel_accuracy, IOU: iou, AP: ap}


TABLE1 = Table(
    name="table1",
    title="Comparative study of rollout, GMAR and LeGrad: localisation on 14 images of PASCAL VOC 2012",
    source=(
        "the paper's published code (soham5498/Explanable_Ai, main.py), which we ran with DeiT-Tiny on its 14 images. "
        "The repository names google/vit-base-patch16-224 as its model; the values of that model are in a report that "
        "could not be read"
    ),
    parts=(
        Part(
            name="voc14",
            model="deit_tiny_patch16_224",
            needs=(
                "the 14 images and masks of github.com/soham5498/Explanable_Ai as DIR/images/*.jpg and "
                "DIR/masks/*.png, then --data folder:DIR"
            ),
            images=14,
            rows=(
                Row(
                    "Rollout (published code)",
                    {"method": "rollout", "variant": "first_left"},
                    figures(82.03, 8.50, 37.47),
                ),
                Row(
                    "GMAR, L1 (published code)",
                    {"method": "gmar", "variant": "joita2025", "norm": "l1"},
                    figures(82.69, 17.04, 42.55),
                ),
                Row(
                    "GMAR, L2 (published code)",
                    {"method": "gmar", "variant": "joita2025", "norm": "l2"},
                    figures(82.69, 17.31, 42.55),
                ),
                Row(
                    "LeGrad (published code)",
                    {"method": "legrad", "variant": "joita2025"},
                    figures(84.44, 16.14, 48.51),
                ),
                Row("Rollout (canonical)", "rollout"),
                Row("GMAR, L1 (canonical)", {"method": "gmar", "norm": "l1"}),
                Row("GMAR, L2 (canonical)", {"method": "gmar", "norm": "l2"}),
                Row("LeGrad (canonical)", "legrad"),
                *BASELINES,
            ),
            columns=(
                Column(PIXEL_ACCURACY, {"metric": "pixel_accuracy", "threshold": 0.5, **ON_GRID}),
                # The paper's mIoU is the IoU of the object alone (without the background), averaged over images.
                Column(IOU, {"metric": "iou", "threshold": 0.5, **ON_GRID}),
                Column(AP, {"metric": "average_precision", "kind": "foreground", **ON_GRID}),
            ),
            source_as=whole_mask_on_grid,
        ),
    ),
    notes=(
        "We ran the published code with weights whose LayerNorm values are rounded to 1/64 or 1/32; with the hub's "
        "weights, values may differ slightly.",
        "The published code crops the image but not the mask, so that the two are not exactly aligned. All lines here, "
        "including the canonical ones, are scored in this way.",
        "A map that is 0 nearly everywhere after thresholding at 0.5 has a high pixel accuracy, because most cells are "
        "background.",
    ),
)


FIGURES = (
    Figure(
        "grid",
        "five columns: the image, the mask of its object (of --masks or --scenes), rollout, GMAR and LeGrad",
        {"Rollout": "rollout", "GMAR (L1)": "gmar", "LeGrad": "legrad"},
        mask_column,
    ),
    Figure(
        "grid_published",
        "the same five columns, with the methods as the published code computes them",
        {
            "Rollout": {"method": "rollout", "variant": "first_left"},
            "GMAR (L1)": {"method": "gmar", "variant": "joita2025"},
            "LeGrad": {"method": "legrad", "variant": "joita2025"},
        },
        mask_column,
    ),
)

PAPER = Paper(
    name="joita2025",
    title="Joita 2025: comparative study of rollout, GMAR and LeGrad",
    tables=(TABLE1,),
    figures=FIGURES,
    model="deit_tiny_patch16_224",
)
