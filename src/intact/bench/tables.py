"""results.md: the tables of a benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from intact.report.bench import Comparison, alarms, difference, in_order, kinds_of
from intact.report.reported import DOI, REPORTED, SETS, SOURCE
from intact.report.words import DASH, interval, number, rate
from intact.rows import Row

HEAD = (
    "method",
    "AUROC (95 %)",
    "lowest to highest seed (how many)",
    "AP (95 %)",
    "partial AUROC",
    "sensitivity at 95 % specificity",
    "accuracy",
    "F1",
    "flagged",
    "false alarms",
)
PIXEL = ("AUPRO", "Dice at 5 % false pixels")
COST = ("method", "learned from", "calibrated on", "fit, s", "images/s", "peak memory, MiB", "model, MiB")


def markdown(found: Comparison) -> str:
    """The whole file."""
    run = found.run
    parts = [
        "# Comparison of detectors",
        f"{run['started']}, Intact {run['intact']}, {'; '.join(run['devices']) or 'nothing measured'}, "
        f"seeds {', '.join(map(str, run['seeds']))}, false-alarm rate {rate(run['alpha'])}.",
    ]
    for pack in found.packs:
        parts += [f"## {pack['name']}", *_pack(found, pack["name"])]
    if found.failed:
        body = [[row["pack"], row["method"], str(row["seed"]), row["not_measured"]] for row in found.failed]
        parts += ["## Not measured", table(["pack", "method", "seed", "why"], body)]
    parts += ["## Reported by others, on other images", _reported(found)]
    parts += ["## Protocol", *(f"**{title}.** {words}" for title, words in found.protocol)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table; what would break it is escaped."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _pack(found: Comparison, pack: str) -> list[str]:
    kinds = kinds_of(found.summaries, pack)
    if not kinds:
        return ["Nothing could be measured."]
    parts = []
    for kind in kinds:
        rows = in_order(found.summaries, pack, kind)
        pixel = any("aupro" in row for row in rows)
        body = [_judged(row, pixel) for row in rows]
        parts += [f"### {kind}", table([*HEAD, *(PIXEL if pixel else ())], body)]
    parts += ["### Cost", table(COST, [_cost(row) for row in in_order(found.summaries, pack, kinds[-1])])]
    if against := [row for row in found.differences if row["pack"] == pack]:
        body = [
            [row["kind"], row["method"], difference(row), f"{row['p']:.2g}", row["verdict"]]
            for row in against
        ]
        head = ["kind", "method", "AUROC less the reference's (95 %)", "p", "verdict"]
        parts += [f"### Against {against[0]['reference']}", table(head, body)]
    return parts


def _judged(row: Row, pixel: bool) -> list[str]:
    auroc, precision = ([row[f"{name}{end}"] for end in ("", "_low", "_high")]
                        for name in ("auroc", "average_precision"))  # fmt: skip
    cells = [
        row["method"],
        interval(auroc),
        f"{row['auroc_least']:.3f}–{row['auroc_most']:.3f} ({len(row['seeds'])})",
        interval(precision),
        f"{row['partial_auroc']:.3f}",
        rate(row["sensitivity_at_95"]),
        rate(row.get("accuracy")),
        f"{row['f1']:.3f}" if "f1" in row else DASH,
        rate(row.get("flagged_rate")),
        ", ".join(filter(None, alarms(row))),
    ]
    return cells + ([number(row.get(name)) for name in ("aupro", "dice_at_5_fpr")] if pixel else [])


def _cost(row: Row) -> list[str]:
    return [
        row["method"],
        str(row["learned_from"]),
        str(row["calibrated_on"]),
        *(number(row[name]) for name in ("fit_s", "images_per_s", "peak_mib", "model_mib")),
    ]


def _reported(found: Comparison) -> str:
    here = {entrant["method"] for entrant in found.entrants}
    body = [
        [f"{of.title}{' (measured here too)' if key in here else ''}", *(f"{v / 100:.3f}" for v in of.auroc)]
        for key, of in REPORTED.items()
    ]
    about = (
        f"AUROC, `reported` in {SOURCE}, doi {DOI}. Other images and other splits: not comparable in size."
    )
    return f"{about}\n\n{table(['reported', *SETS], body)}"
