"""Reports of a run: `html` writes the page that people read."""

from intact.report.html import write_report

__all__ = ["write_report"]
