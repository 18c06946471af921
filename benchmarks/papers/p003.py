"""What the tables of Wu et al. 2024 (VTranM, published as TokenTM) share: models, data, methods and notes.

Has no command of its own; see p003_table1.py to p003_table4.py.
"""

from benchmarks.papers.table import BASELINES, Row

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
    Row("last block alone", {"method": "vtranm", "aggregate": False}),
    Row("aggregation", {"method": "vtranm", "length": False, "necc": False}),
    Row("aggregation + length", {"method": "vtranm", "necc": False}),
    Row("aggregation + length + NECC", "vtranm"),
    *BASELINES,
)
