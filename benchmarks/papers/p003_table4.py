"""Paper 003, table 4: what VTranM is without its parts."""

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
        "The two parts need two data sets: run them one after the other into one directory, with --parts segmentation "
        "and --parts perturbation.",
    ),
)
