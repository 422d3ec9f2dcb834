"""Write docs/results/ and fill README's results from benchmarks/results/, so that no number is typed by hand.

python benchmarks/tables.py
"""

from __future__ import annotations

from pathlib import Path

import tables_anomaly
import tables_forensics
import tables_protect
import tables_segment
from results import page

ROOT = Path(__file__).parent.parent
README, PAGES = ROOT / "README.md", ROOT / "docs" / "results"
START, END = "<!-- results:start -->", "<!-- results:end -->"
PARTS = {
    "anomaly": tables_anomaly,
    "forensics": tables_forensics,
    "protect": tables_protect,
    "segment": tables_segment,
}


def main() -> None:
    """Write a page for each part, and what README says of it between the two marks."""
    PAGES.mkdir(exist_ok=True)
    for name, part in PARTS.items():
        (PAGES / f"{name}.md").write_text(f"{part.everything()}\n")
    before, rest = README.read_text().split(START)
    filled = page(*(part.summary() for part in PARTS.values()))
    README.write_text(f"{before}{START}\n{filled}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
