"""Reproduces tables of four papers, with one module per table.

Run:     python -m benchmarks.papers                   lists the tables and the data that each needs
         python -m benchmarks.papers TABLE --data SPEC reproduces one; rerunning the command resumes the run
Prints:  the paper's values next to vitjax's with 95 % intervals, as Markdown
Writes:  out/papers/TABLE/: table.md, table.json and one run directory per part (--out DIR changes the place)

p000_table2               Das & Huddar 2025: attention focus of DeiT-Tiny
p001_table1               Joita 2025: rollout, GMAR and LeGrad on 14 images of PASCAL VOC
p002_table3, p002_table4  Coporan 2025: segmentation, deletion and the pointing game on PASCAL VOC
p003_table1 to _table4    Wu et al. 2024 (VTranM, published as TokenTM): segmentation, perturbation, ablation

table.py     what a table consists of
protocols.py preprocessing and masks of the papers that differ from vitjax's own
compute.py   runs a part and compares it with the paper
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
