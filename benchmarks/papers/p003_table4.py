"""Wu et al. 2024 (VTranM), table 4: ablation of VTranM's parts.

Run:     python -m benchmarks.papers p003_table4 --data imagenet-seg:gtsegs_ijcv.mat --parts segmentation -o DIR
         python -m benchmarks.papers p003_table4 --data tfds:imagenet2012:validation --parts perturbation -o DIR
Prints:  segmentation and perturbation metrics for each combination of parts; the paper's values are not available
"""

from benchmarks.papers.p003 import ABLATIONS, MODEL, NOTES, PERTURBATION, SEGMENTATION, SOURCE, WEIGHTS
from benchmarks.papers.p003_table1 import COLUMNS
from benchmarks.papers.protocols import bilinear, squashed
from benchmarks.papers.table import Column, Part, Table

TABLE = Table(
    name="p003_table4",
    title="VTranM (TokenTM): ablation of aggregation, lengths and NECC",
    source=SOURCE,
    parts=(
        Part(
            name="segmentation",
            model=MODEL,
            weights=WEIGHTS,
            needs=SEGMENTATION,
            images=4276,
            rows=ABLATIONS,
            columns=COLUMNS,
            model_as=bilinear,
            source_as=squashed,
        ),
        Part(
            name="perturbation",
            model=MODEL,
            weights=WEIGHTS,
            needs=PERTURBATION,
            rows=ABLATIONS,
            columns=(
                Column("Neg, predicted", {"metric": "perturbation_auc", "chunk": 7}, "negative"),
                Column("Pos, predicted", {"metric": "perturbation_auc", "chunk": 7}, "positive"),
                Column("AOPC", {"metric": "aopc", "chunk": 7}),
                Column("LOdds", {"metric": "log_odds", "chunk": 7}),
            ),
        ),
    ),
    notes=(
        *NOTES,
        "The two parts need different data sets: run the command twice with the same directory, with --parts "
        "segmentation and with --parts perturbation.",
    ),
)
