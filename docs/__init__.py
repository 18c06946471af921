"""Documentation, and the program that writes docs/methods.md and docs/metrics.md from docstrings."""
