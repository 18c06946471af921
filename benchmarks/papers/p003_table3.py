"""Paper 003, table 3: AOPC and log-odds."""

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
