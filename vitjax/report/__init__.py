"""Reports of evaluation runs: records -> statistics with confidence intervals -> tables, curves and an HTML page.

pyarrow, jinja2 and matplotlib are imported on first use, not with this package.
"""

from vitjax.report.summary import Summary, summarise
from vitjax.report.tables import csv_text, latex, markdown, text
from vitjax.report.write import write_report

__all__ = ["Summary", "csv_text", "latex", "markdown", "summarise", "text", "write_report"]
