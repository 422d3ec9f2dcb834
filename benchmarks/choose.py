"""Which method, and which methods together, would a user pick who has normal images only? -> rows.

    python benchmarks/choose.py [--most 4]

From what `benchmarks/anomaly.py` measured with seed 0; nothing is fitted again. `imitated` is the mean AUROC
over the imitations of disease made of held-out normals, which is all that the choice knows; `auroc` is that
of the real disease in the test set, all kinds together, which only judges the choice.

- Per pack: what `intact choose` would pick, and by how much the best method there is better (`shortfall`).
- `default`: the method with the best mean of `imitated` over the packs.
- `ensemble`: begun with that one; then, up to --most members, the method that raises the mean of `imitated`
  most when its surprise joins (`intact.ensemble`), as long as one does. The same members on all packs.
  Scores are joined as the ensemble does: surprise among the normals that each member held out.

Rows go to benchmarks/results/choose.csv: one per pack and method, ensembles among them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from anomaly import PACKS, TINY
from intact.bench.rows import read_rows
from intact.bench.run import HELD_OUT, RECORD, SCORES, UNLABELLED
from intact.choose import tell_apart
from intact.ensemble import COMBINE, surprise
from intact.evaluate import NORMAL
from intact.imitations import UNTOUCHED
from intact.metrics import auroc
from results import FOLDER, environment, replace_rows

ROWS = "choose.csv"
SEED = 0
DEFAULT = "default"
Scores = Float[ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Known:
    """What was measured of one method on one pack.

    Args:
        held_out: Scores of normals that it has not learned from.
        imitated: By task, of imitations of disease; `UNTOUCHED` among them. nan where none was made.
        test: Of the test images, in one order for all methods.
        abnormal: Which of those are.
    """

    held_out: Scores
    imitated: Mapping[str, Scores]
    test: Scores
    abnormal: ndarray

    @property
    def guess(self) -> float:
        """Mean AUROC over the imitations."""
        return float(np.mean(list(tell_apart(self.imitated).values())))

    @property
    def auroc(self) -> float:
        """Of the real disease."""
        return auroc(self.test, self.abnormal)


def known(pack: str) -> dict[str, Known]:
    """Everything measured of a pack with what the choice needs."""
    found = {}
    for cell in sorted((FOLDER / "anomaly" / pack / "cells").iterdir()):
        if not (cell / RECORD).exists() or not (cell / UNLABELLED).exists():
            continue
        identity = json.loads((cell / RECORD).read_text())["identity"]
        fields = identity["fields"]
        if fields["seed"] == SEED and fields.get("backbone") != "narrow_resnet18":
            found[identity["method"]] = _read(cell)
    return found


def _read(cell: Path) -> Known:
    tasks: dict[str, dict[int, float]] = {}
    for row in read_rows(cell / UNLABELLED):
        tasks.setdefault(row["task"], {})[int(row["image"])] = float(row["score"])
    held_out = np.array(list(tasks.pop(HELD_OUT).values()))
    images = sorted(tasks[UNTOUCHED])
    imitated = {task: np.array([of.get(n, np.nan) for n in images]) for task, of in tasks.items()}
    rows = sorted(read_rows(cell / SCORES), key=lambda row: row["image"])
    test = np.array([float(row["score"]) for row in rows])
    return Known(held_out, imitated, test, np.array([row["kind"] != NORMAL for row in rows]))


def joined(members: Sequence[Known], combine: str) -> Known:
    """What an ensemble says: surprise of each member among its held-out normals, combined."""

    def join(scores: Sequence[Scores]) -> Scores:
        surprises = [surprise(each, of.held_out) for each, of in zip(scores, members, strict=True)]
        return np.asarray(COMBINE[combine](np.stack(surprises)))

    tasks = members[0].imitated
    return Known(
        join([of.held_out for of in members]),
        {task: join([of.imitated[task] for of in members]) for task in tasks},
        join([of.test for of in members]),
        members[0].abnormal,
    )


def grow(packs: Mapping[str, Mapping[str, Known]], names: Sequence[str], most: int) -> list[str]:
    """Members of the ensemble, chosen by the imitations on all packs."""

    def guess(members: Sequence[str]) -> float:
        return float(np.mean([joined([of[m] for m in members], "fisher").guess for of in packs.values()]))

    members = [max(names, key=lambda name: guess([name]))]
    while len(members) < most:
        better = max(set(names) - set(members), key=lambda name: guess([*members, name]), default=None)
        if better is None or guess([*members, better]) <= guess(members):
            break
        members.append(better)
    return members


def rows_of(
    pack: str, methods: Mapping[str, Known], together: Sequence[str], default: str
) -> list[dict[str, Any]]:
    """One row per method, and one per way to join the ensemble's members."""
    best = max(of.auroc for of in methods.values())
    picked = max(methods, key=lambda name: methods[name].guess)
    entries = dict(methods)
    for combine in COMBINE if len(together) > 1 else ():
        entries[f"{'+'.join(together)} ({combine})"] = joined([methods[m] for m in together], combine)
    return [
        {
            "pack": pack,
            "method": name,
            "imitated": of.guess,
            "auroc": of.auroc,
            "shortfall": best - of.auroc,
            "picked": int(name == picked),
            DEFAULT: int(name == default),
            "methods": len(methods),
        }
        | environment()
        for name, of in entries.items()
    ]


def main() -> None:
    """Tell what would be chosen, and how good that is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--most", type=int, default=4, help="members of the ensemble")
    parser.add_argument("--packs", nargs="+", default=[*PACKS, TINY])
    asked = parser.parse_args()
    packs = {pack: of for pack in asked.packs if (of := known(pack))}
    common = sorted(set.intersection(*(set(of) for of in packs.values())))
    default, *others = grow(packs, common, asked.most)
    for pack, methods in packs.items():
        rows = rows_of(pack, methods, [default, *others], default)
        replace_rows(ROWS, {"pack": pack}, rows)
        for row in sorted(rows, key=lambda row: -row["imitated"]):
            marks = " picked" * row["picked"] + " default" * row[DEFAULT]
            print(f"{pack:15} {row['method']:40} {row['imitated']:.3f} {row['auroc']:.3f}{marks}")


if __name__ == "__main__":
    main()
