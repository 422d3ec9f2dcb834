"""What `docs/results/anomaly.md` says of choosing a method, and several, without labels."""

from __future__ import annotations

from collections.abc import Sequence

from results import page, plain, read_rows, table

MEAN = "mean"  # of all packs, among the packs
Rows = Sequence[dict[str, str]]


def picked() -> str:
    """Per pack, what imitations would have picked, beside the best."""
    rows = [row for row in read_rows("choose.csv") if row["pack"] != MEAN]
    body = []
    for pack in dict.fromkeys(row["pack"] for row in rows):
        own = [row for row in rows if row["pack"] == pack and "+" not in row["method"]]
        pick = next(row for row in own if row["picked"] == "1")
        best = min(own, key=lambda row: float(row["shortfall"]))
        could = sum(row["imitated"] != "nan" for row in own)
        body.append([
            plain(pack),
            f"`{pick['method']}`",
            f"{float(pick['imitated']):.3f}",
            f"{float(pick['auroc']):.3f}",
            f"`{best['method']}` {float(best['auroc']):.3f}",
            f"{float(pick['shortfall']):.3f}",
            f"{could} of {len(own)}",
        ])  # fmt: skip
    if not body:
        return ""
    head = ["pack", "picked", "AUROC, imitations", "AUROC, disease", "best", "shortfall", "to pick from"]
    return page(
        "Imitations of disease are made of held-out normals (`intact choose`), and the method is picked that "
        "tells them best; real disease, all kinds of the table above together, only judges the pick. Seed 0; "
        "methods measured before imitations were kept could not be picked, but may be the best "
        "(`benchmarks/choose.py`).",
        table(head, body),
    )


def over_all_packs() -> str:
    """The default and the ensemble, chosen on all packs together, beside every method."""
    rows = [row for row in read_rows("choose.csv") if row["pack"] == MEAN]
    if not rows:
        return ""
    body = [
        [_name(row), _or_none(row["imitated"]), _or_none(row["auroc"]), _beside(row)]
        for row in sorted(rows, key=lambda row: -float(row["auroc"]))
    ]
    best = rows[0]["best"]
    return page(
        "Means over the packs. The default is the method with the highest AUROC on imitations; an ensemble's "
        "members are chosen by them too, and are the same on all packs. Last column: beside the single "
        f"method that finds real disease best, `{best}`, with the 95 % interval of the test images.",
        table(["", "AUROC, imitations", "AUROC, disease", "above the best single"], body),
    )


def in_short() -> str:
    """The ensemble in a sentence."""
    rows = [row for row in read_rows("choose.csv") if row["pack"] == MEAN]
    several = [row for row in rows if row["method"].endswith("(fisher)")]  # the way of `intact fit`
    if not several:
        return ""
    chosen = max(several, key=lambda row: float(row["imitated"]))
    return (
        f"Several together, chosen without labels: {_name(chosen)} has a mean AUROC over the packs of "
        f"{float(chosen['auroc']):.3f}, {_beside(chosen)} beside the best single method, "
        f"`{chosen['best']}`."
    )


def _name(row: dict[str, str]) -> str:
    members, _, way = row["method"].partition(" ")
    name = " + ".join(f"`{member}`" for member in members.split("+"))
    return f"{name} {way}".strip() + ", the default" * int(row["default"])


def _or_none(value: str) -> str:
    return "none" if value == "nan" else f"{float(value):.3f}"


def _beside(row: dict[str, str]) -> str:
    if row["method"] == row["best"]:
        return ""
    value, low, high = (float(row[name]) for name in ("above", "above_low", "above_high"))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def everything() -> str:
    """The section, empty where nothing was measured."""
    parts = page(picked(), over_all_packs())
    return page("## Chosen without labels", parts) if parts else ""
