"""Paper 003, table 2: perturbation tests, the area under the curve of accuracy."""

from benchmarks.papers.p003 import METHODS, MODEL, NOTES, PERTURBATION, SOURCE, WEIGHTS
from benchmarks.papers.table import Column, Part, Table

# 0, 5 ... 100 % of the pixels become the mean colour.
AUC = {"metric": "perturbation_auc", "chunk": 7}

TABLE = Table(
    name="p003_table2",
    title="VTranM (TokenTM): AUC of accuracy while pixels are removed, least (neg) or most relevant (pos) ones first",
    source=SOURCE,
    parts=(
        Part(
            name="predicted",
            model=MODEL,
            weights=WEIGHTS,
            needs=PERTURBATION,
            rows=METHODS,
            columns=(Column("Neg, predicted", AUC, "negative"), Column("Pos, predicted", AUC, "positive")),
        ),
        Part(
            name="target",
            model=MODEL,
            weights=WEIGHTS,
            needs=PERTURBATION,
            rows=METHODS,
            columns=(Column("Neg, target", AUC, "negative_label"), Column("Pos, target", AUC, "positive_label")),
            options={"target": "label"},
        ),
    ),
    notes=(
        *NOTES,
        "Predicted: maps of the predicted class, scored by whether it is still predicted. Target: maps of the true "
        "class, scored by whether that is predicted.",
    ),
)
