"""Das & Huddar 2025: rollout and gradient rollout of DeiT-Tiny by head fusion, and Grad-CAM of a ResNet-50."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitjax.papers.drawing import mask_outlines, method_grid
from vitjax.papers.paper import Figure, Paper
from vitjax.papers.protocols import bilinear, squashed, squashed_inputs
from vitjax.papers.stages import feature_figures, stage_figures
from vitjax.papers.table import BASELINES, Column, Part, Row, Table

NEEDS = (
    "photographs in a folder DIR and masks of their objects in another: `python -m vitjax.data.detector DIR -o MASKS` "
    "(Mask R-CNN, extra `torch`), then --data folder:DIR --masks MASKS. The paper's own images are not published."
)
COLUMNS = (Column("FAF", "focus", "faf"), Column("BAF", "focus", "baf"))
FUSIONS = ("mean", "max", "min")

TABLE2 = Table(
    name="table2",
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
                        f"Rollout, {fusion} (published code, discard {ratio})",
                        {"method": "rollout", "variant": "vit_explain", "head_fusion": fusion, "discard_ratio": ratio},
                    )
                    # The paper does not state the discard ratio; 0.9 is the default of the code it uses, vit-explain.
                    for ratio in (0.9, 0.0)
                    for fusion in FUSIONS
                ),
                *(
                    Row(f"Rollout, {fusion} (as printed)", {"method": "rollout", "head_fusion": fusion, "alpha": 1.0})
                    for fusion in FUSIONS
                ),
                *(
                    Row(f"Rollout, {fusion} (canonical)", {"method": "rollout", "head_fusion": fusion})
                    for fusion in FUSIONS
                ),
                # The published gradient rollout always takes the mean over heads.
                *(
                    Row(
                        f"Gradient rollout (published code, discard {ratio})",
                        {"method": "grad_rollout", "variant": "vit_explain", "discard_ratio": ratio},
                    )
                    for ratio in (0.9, 0.0)
                ),
                *(
                    Row(
                        f"Gradient rollout, {fusion} (as printed)",
                        {"method": "grad_rollout", "head_fusion": fusion, "variant": "das2025"},
                    )
                    for fusion in FUSIONS
                ),
                *(
                    Row(f"Gradient rollout, {fusion} (canonical)", {"method": "grad_rollout", "head_fusion": fusion})
                    for fusion in FUSIONS
                ),
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


def fusions(**options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Both rollouts with each fusion of heads, by column title; options: further ones by name of the method."""
    titles = {"rollout": "Rollout", "grad_rollout": "Gradient rollout"}
    return {
        f"{title}, {fusion}": {"method": name, "head_fusion": fusion, **options.get(name, {})}
        for name, title in titles.items()
        for fusion in FUSIONS
    }


STAGES = {f"layer{number}": {"method": "grad_cam", "layer": f"layer{number}"} for number in (1, 2, 3, 4)}

FIGURES = (
    Figure(
        "fusions",
        "rollout and gradient rollout with the mean, the maximum and the minimum over heads",
        fusions(),
        method_grid(),
    ),
    Figure(
        "printed",
        "both rollouts as the paper prints them: without a residual connection (α = 1), attention and gradient fused "
        "each by itself",
        fusions(rollout={"alpha": 1.0}, grad_rollout={"variant": "das2025"}),
        method_grid(),
    ),
    Figure(
        "stages",
        "Grad-CAM and mean feature map of each stage of a ResNet, rollout of the ViT, the top five of both",
        {"Rollout": "rollout"},
        stage_figures,
        cnn_methods=STAGES,
        needs=frozenset({"cnn"}),
        features=True,
    ),
    Figure(
        "features",
        "feature maps of each stage of a ResNet: the mean and the first channels",
        {"Rollout": "rollout"},
        feature_figures,
        cnn_methods={"layer4": STAGES["layer4"]},
        needs=frozenset({"cnn"}),
        features=True,
    ),
    Figure(
        "classes",
        "each image explained for several classes: those of --target, or the three most probable ones",
        fusions(),
        method_grid(),
        targets="top3",
    ),
    Figure(
        "focus",
        "both rollouts on each image, with foreground and background attention focus (FAF, BAF) under each map",
        fusions(),
        method_grid(contours=True, focus=True),
        needs=frozenset({"masks"}),
    ),
    Figure(
        "masks",
        "the masks of the objects, such as Mask R-CNN's",
        {"Rollout": "rollout"},
        mask_outlines,
        needs=frozenset({"masks"}),
    ),
)

PAPER = Paper(
    name="das2025",
    title="Das & Huddar 2025: rollout and gradient rollout of DeiT-Tiny, Grad-CAM of a ResNet-50",
    tables=(TABLE2,),
    figures=FIGURES,
    model="deit_tiny_patch16_224",
    cnn_as=squashed_inputs,
)
