"""What both tables of paper 002 share: VOC 2012 val, ViT-B/16, pictures as its notebook feeds them."""

from collections.abc import Mapping

from benchmarks.papers.table import BASELINES, Row

MODEL = "vit_base_patch16_224"
# The notebook takes the network of Transformer-Explainability, which loads Google's first ViT-B/16; timm's default
# of that name is a later training.
WEIGHTS = "google/vit-base-patch16-224"
NEEDS = "PASCAL VOC 2012 (VOCtrainval_11-May-2012.tar), unpacked; then --data voc:VOCdevkit/VOC2012"
SOURCE = "outputs of the notebook anacopo/TSW, TSW.ipynb (the report beside it is a PDF that could not be read)"
NOTES = (
    "As published, pictures are squashed to 224 x 224 and fed in [0, 1], without the normalisation that the network "
    "was trained with; VOC's void borders count as object.",
    "The notebook's LRP is transformer attribution (its method='transformer_attribution').",
    "CAM is all zero on some pictures. The notebook counts them (an empty mask; the peak at the first pixel); here "
    "they are left out and counted as excluded.",
    "Which of the notebook's figures stands in table 3 and which in table 4 is our reading.",
)


def rows(cam: Mapping[str, float], lrp: Mapping[str, float]) -> tuple[Row, ...]:
    """The survey's methods; the notebook has figures of two. Slow ones (attention flow, ViT-CX) need --slow."""
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
