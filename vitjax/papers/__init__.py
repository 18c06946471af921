"""Reproduces figures and tables of four papers: `vitjax paper NAME IMG...` and `vitjax paper NAME --data SPEC`.

das2025, joita2025, coporan2025, vtranm2024  what each paper consists of, with the published values
paper, table                                 what a figure and a table consist of
figures, pictures, relevance                 explain pictures for figures, and write the numbers beside them
drawing, stages                              how figures are drawn
tables, protocols                            run the parts of a table in the paper's preprocessing
"""

from vitjax.papers import coporan2025, das2025, joita2025, vtranm2024
from vitjax.papers.paper import Paper

PAPERS: dict[str, Paper] = {module.PAPER.name: module.PAPER for module in (das2025, joita2025, coporan2025, vtranm2024)}
"""The papers by name."""
