"""Reports of a run: `html` writes the page of a screening, `verification` that of a verification."""

from intact.report.damage import draw_damage
from intact.report.html import write_report
from intact.report.verification import write_verification

__all__ = ["draw_damage", "write_report", "write_verification"]
