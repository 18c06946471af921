"""What both tables of Coporan 2025 share: PASCAL VOC 2012 val, ViT-B/16, and the preprocessing of the paper's notebook.

Has no command of its own; see p002_table3.py and p002_table4.py.
"""

from collections.abc import Mapping

from benchmarks.papers.table import BASELINES, Row

MODEL = "vit_base_patch16_224"
# The notebook uses the model of Transformer-Explainability, which loads Google's first ViT-B/16. timm's default weights
# of that name come from a later training.
WEIGHTS = "google/vit-base-patch16-224"
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
