"""Das & Huddar 2025, table 2: attention focus of rollout and gradient rollout (DeiT-Tiny) and Grad-CAM (ResNet-50).

Run:     python -m benchmarks.papers p000_table2 --data folder:DIR --masks MASKS
Prints:  foreground and background attention focus (FAF, BAF) of each method; the paper's values are not available
"""

from benchmarks.papers.protocols import bilinear, squashed
from benchmarks.papers.table import BASELINES, Column, Part, Row, Table

NEEDS = (
    "photographs in a folder DIR and masks of their objects in another: `python -m vitjax.data.detector DIR -o MASKS` "
    "(Mask R-CNN, extra `torch`), then --data folder:DIR --masks MASKS. The paper's own images are not published."
)
COLUMNS = (Column("FAF", "focus", "faf"), Column("BAF", "focus", "baf"))
FUSIONS = ("mean", "max", "min")

TABLE = Table(
    name="p000_table2",
    title="Attention focus of DeiT-Tiny on objects that Mask R-CNN detects (higher FAF and lower BAF are better)",
    source=(
        "none: the report is a PDF that could not be read, and the DeiT notebook is damaged. The README of "
        "RiyaH2020/Explainability_in_Vision_transformers contains one result: gradient rollout reaches ~25 % higher "
        "foreground alignment than rollout"
    ),
    parts=(
        Part(
            name="deit_tiny",
            model="deit_tiny_patch16_224",
            needs=NEEDS,
            rows=(
                *(
                    Row(
                        f"Rollout, {fusion} (as published, discard {ratio})",
                        {"method": "rollout", "variant": "vit_explain", "head_fusion": fusion, "discard_ratio": ratio},
                    )
                    # The paper does not state the discard ratio; 0.9 is the default of the code it uses, vit-explain.
                    for ratio in (0.9, 0.0)
                    for fusion in FUSIONS
                ),
                *(
                    Row(f"Rollout, {fusion} (canonical)", {"method": "rollout", "head_fusion": fusion})
                    for fusion in FUSIONS
                ),
                # No fusions here: vit-explain's gradient rollout always takes the mean over heads.
                *(
                    Row(
                        f"Gradient rollout (as published, discard {ratio})",
                        {"method": "grad_rollout", "variant": "vit_explain", "discard_ratio": ratio},
                    )
                    for ratio in (0.9, 0.0)
                ),
                Row("Gradient rollout (canonical)", "grad_rollout"),
                *BASELINES,
            ),
            columns=COLUMNS,
        ),
        Part(
            name="resnet50",
            model="resnet50",
            needs=NEEDS,
            rows=(Row("Grad-CAM of a ResNet-50, layer4", "grad_cam"), *BASELINES),
            columns=COLUMNS,
            # As in the paper's CNN notebook: Resize((224, 224)) and torchvision's first weights (the model's default).
            model_as=bilinear,
            source_as=squashed,
        ),
    ),
    notes=(
        "DeiT-Tiny uses timm's resize and crop; the preprocessing of the paper's DeiT notebook is not known.",
        "FAF of the ResNet is computed on its own 7 x 7 grid.",
    ),
)
