"""Fill README's results from the rows in benchmarks/results/, so that no number is typed by hand.

python benchmarks/tables.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results import read_rows

README = Path(__file__).parent.parent / "README.md"
START, END = "<!-- results:start -->", "<!-- results:end -->"
NAMES = {
    "floor": "plain PatchCore (floor)",
    "ae": "`ae`",
    "dae": "`dae`",
    "padim": "`padim`",
    "patchcore": "`patchcore`",
    "patchcore_shipped": "`patchcore`, shipped backbone",
    "anomalib_padim": "anomalib PaDiM (peer, run here)",
    "anomalib_patchcore": "anomalib PatchCore (peer, run here)",
}
COLUMNS = (
    ("brain_mri", "tumor_matched"),
    ("chest_xray", "bacteria"),
    ("chest_xray", "virus"),
    ("lung_ct", "benign"),
    ("lung_ct", "malignant"),
)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def detection() -> str:
    """AUROC of each method for each kind of finding, seed 0."""
    rows = {(r["pack"], r["kind"], r["method"]): r for r in read_rows("anomaly.csv") if r["seed"] == "0"}
    body = []
    for method, name in NAMES.items():
        cells = []
        for pack, kind in COLUMNS:
            row = rows.get((pack, kind, method))
            cells.append(
                f"{float(row['auroc']):.3f} ({float(row['auroc_low']):.3f}–{float(row['auroc_high']):.3f})"
                if row
                else "not measured"
            )
        body.append([name, *cells])
    head = ["AUROC (95 % interval)", *(f"{pack} {kind}".replace("_", " ") for pack, kind in COLUMNS)]
    return table(head, body)


def false_alarms() -> str:
    """Normals flagged at alpha = 0.05, beside what chance allows."""
    seen: dict[tuple[str, str], list[str]] = {}
    for row in read_rows("anomaly.csv"):
        if row.get("normals") and row["seed"] == "0":
            seen[row["pack"], row["method"]] = [
                row["pack"].replace("_", " "),
                NAMES[row["method"]],
                f"{row['false_alarms']} of {row['normals']}",
                f"{100 * float(row['false_alarm_rate']):.1f} % "
                f"({100 * float(row['rate_low']):.1f}–{100 * float(row['rate_high']):.1f})",
                f"{row['expected_alarms_low']} to {row['expected_alarms_high']}"
                + (" (**broken**)" if int(row["false_alarms"]) > int(row["expected_alarms_high"]) else ""),
            ]
    head = [
        "pack",
        "method",
        "fresh normals flagged",
        "rate (exact 95 % interval)",
        "count that agrees with 5 %",
    ]
    return table(head, list(seen.values()))


def speed() -> str:
    """Throughput and memory in a sentence each."""
    lines = [
        f"`screen` with the default detector does {float(row['screen_per_s']):.0f} images/s on "
        f"{row['device']}; the bare backbone as PyTorch runs it does {float(row['forward_per_s']):.0f}, bare "
        f"decoding {float(row['decode_per_s']):.0f}: {100 * float(row['kept']):.0f} % of the slower is kept. "
        f"Alone, with its batch norms folded as in Intact, it does {float(row['own_forward_per_s']):.0f}."
        for row in read_rows("screen_speed.csv")
    ]
    peaks = [
        f"{float(r['peak_mb']):.0f} MB at {int(r['images']):,} images" for r in read_rows("screen_memory.csv")
    ]
    if peaks:
        lines.append(f"Highest memory of all processes together: {', '.join(peaks)}.")
    return " ".join(lines)


def main() -> None:
    """Replace what stands between the two marks."""
    text = README.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    parts = [
        "Real images, each method with its defaults, learned from the pack's normals only; the brain pack is "
        "judged by tumours collected the same way as its normals. Made by `make bench`.",
        detection(),
        "A false-alarm rate of 5 % was asked for:",
        false_alarms(),
        speed(),
    ]
    filled = "\n\n".join(part for part in parts if part)
    README.write_text(f"{before}{START}\n{filled}\n{END}{after}")


if __name__ == "__main__":
    main()
