"""What a run found: records -> figures with intervals -> tables, curves and a page.

Nothing heavy is imported here; pyarrow, jinja2 and matplotlib come in on first use.
"""

from vitjax.report.summary import Summary, summarise
from vitjax.report.tables import csv_text, latex, markdown, text
from vitjax.report.write import write_report

__all__ = ["Summary", "csv_text", "latex", "markdown", "summarise", "text", "write_report"]
