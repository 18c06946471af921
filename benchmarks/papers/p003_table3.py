"""Wu et al. 2024 (VTranM), table 3: AOPC and log-odds.

Run:     python -m benchmarks.papers p003_table3 --data tfds:imagenet2012:validation
Prints:  AOPC and log-odds for each method; the paper's values are not available
"""

from benchmarks.papers.p003 import METHODS, MODEL, NOTES, PERTURBATION, SOURCE, WEIGHTS
from benchmarks.papers.table import Column, Part, Table

TABLE = Table(
    name="p003_table3",
    title="VTranM (TokenTM): AOPC (higher is better) and log-odds (lower is better), eqs. 21 and 22",
    source=SOURCE,
    parts=(
        Part(
            name="predicted",
            model=MODEL,
            weights=WEIGHTS,
            needs=PERTURBATION,
            rows=METHODS,
            columns=(
                Column("AOPC", {"metric": "aopc", "chunk": 7}),
                Column("LOdds", {"metric": "log_odds", "chunk": 7}),
            ),
        ),
    ),
    notes=NOTES,
)
