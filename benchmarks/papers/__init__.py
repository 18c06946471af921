"""Reproduce the papers: one module per table of papers 000 to 003, one command to run each.

`python -m benchmarks.papers` lists the tables and the data that each needs; `python -m benchmarks.papers NAME --data
SPEC` computes one (again: goes on where it stopped) and prints the paper's figures beside ours.
"""

from benchmarks.papers import (
    p000_table2,
    p001_table1,
    p002_table3,
    p002_table4,
    p003_table1,
    p003_table2,
    p003_table3,
    p003_table4,
)
from benchmarks.papers.table import Table

TABLES: dict[str, Table] = {
    module.TABLE.name: module.TABLE
    for module in (
        p000_table2,
        p001_table1,
        p002_table3,
        p002_table4,
        p003_table1,
        p003_table2,
        p003_table3,
        p003_table4,
    )
}
