"""Wu et al. 2024 (VTranM), table 2: perturbation tests, the area under the curve of accuracy.

Run:     python -m benchmarks.papers p003_table2 --data tfds:imagenet2012:validation
Prints:  the area for removal of the least relevant (neg) and most relevant (pos) pixels first, for the predicted and
         the true class, for each method; the paper's values are not available
"""

from benchmarks.papers.p003 import METHODS, MODEL, NOTES, PERTURBATION, SOURCE, WEIGHTS
from benchmarks.papers.table import Column, Part, Table

# 0, 5 ... 100 % of the pixels are replaced by the mean colour.
AUC = {"metric": "perturbation_auc", "chunk": 7}

TABLE = Table(
    name="p003_table2",
    title="VTranM (TokenTM): AUC of accuracy while pixels are removed, least (neg) or most (pos) relevant ones first",
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
        "Predicted: maps of the predicted class, scored by whether this class is still predicted. Target: maps of the "
        "true class, scored by whether the true class is predicted.",
    ),
)
