"""What `docs/results/anomaly.md` says of few images: a learned start, and twenty normals."""

from __future__ import annotations

from collections.abc import Sequence

from results import page, plain, read_rows, table

Columns = Sequence[tuple[str, str]]  # pack and kind of finding


def few_shot(columns: Columns) -> str:
    """A detector that begins at a learned start, beside one that begins at random."""
    rows = {(r["pack"], r["kind"], int(r["normals"]), int(r["steps"])): r for r in read_rows("few_shot.csv")}
    shown = [column for column in columns if any(key[:2] == column for key in rows)]
    if not shown:
        return ""
    some = next(iter(rows.values()))
    body = [
        [str(normals), str(steps), *(_gained(rows.get((*column, normals, steps))) for column in shown)]
        for normals, steps in sorted({key[2:] for key in rows})
    ]
    return page(
        f"`{some['method']}` in few steps from few normals: AUROC from scratch / from a start learned on the "
        f"other packs (`intact start`, {some['rounds']} rounds), and the difference with its 95 % "
        f"interval; mean of {some['seeds']} seeds (`benchmarks/few_shot.py`).",
        table(["normals", "steps", *(plain(f"{pack} {kind}") for pack, kind in shown)], body),
    )


def _gained(row: dict[str, str] | None) -> str:
    if row is None:
        return "not measured"
    scratch, start, gain, low, high = (
        float(row[name]) for name in ("auroc_scratch", "auroc_start", "gain", "gain_low", "gain_high")
    )
    return f"{scratch:.3f} / {start:.3f}, {gain:+.3f} ({low:+.3f} to {high:+.3f})"


def few_normals(columns: Columns) -> str:
    """The default detector on twenty normals, beside the same on all."""
    rows = read_rows("few_normals.csv")
    whole = {(r["pack"], r["kind"], r["method"]): float(r["auroc"]) for r in read_rows("anomaly.csv")}
    body = []
    for pack, kind in columns:
        own = [row for row in rows if (row["pack"], row["kind"]) == (pack, kind)]
        if own:
            everything = whole.get((pack, kind, own[0]["method"]))
            body.append([
                plain(f"{pack} {kind}"),
                _range([float(row["auroc"]) for row in own]),
                "not measured" if everything is None else f"{everything:.3f}",
                _range([float(row["false_alarm_rate"]) for row in own]),
                f"{max(float(row['fit_s']) for row in own):.0f}",
            ])  # fmt: skip
    if not body:
        return ""
    head = ["", "AUROC, 20 normals", "AUROC, all normals", "false alarms at 5 %", "seconds to fit, at most"]
    return page(
        "The default detector learned from 20 normals that were drawn at random, everything by default: mean "
        "over the draws (least to most) (`benchmarks/few_normals.py`).",
        table(head, body),
    )


def _range(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.3f} ({min(values):.3f}–{max(values):.3f})"


def everything(columns: Columns) -> str:
    """The section, empty where nothing was measured."""
    parts = page(few_normals(columns), few_shot(columns))
    return page("## Few images", parts) if parts else ""
