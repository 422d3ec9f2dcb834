"""Which method, and which methods together, would a user pick who has normal images only? -> rows.

    python benchmarks/choose.py

From what `benchmarks/anomaly.py` measured with seed 0; nothing is fitted again. `imitated` is the mean AUROC
over the imitations of disease made of held-out normals, which is all that the choice knows; it is empty for
methods measured before imitations were kept, which cannot be chosen. `auroc` is that of the real disease by
which the results tell a pack (`tables_anomaly.COLUMNS`), all of it together; it only judges the choice.

- Per pack: what `intact choose` would pick, and by how much the best of all methods there is better
  (`shortfall`). Methods of the synthesis family are told, and never chosen: see `intact.choose`.
- `default`: the method with the best mean of `imitated` over the packs.
- Ensembles, by two rules laid down before their AUROC was looked at, the same members on all packs: `unlike`
  takes the best of each family by `imitated`; `grown` begins with the default and adds the method that
  raises `imitated` of the whole most, as long as one does. Scores are joined as `intact.ensemble` does:
  surprise among the normals that each member held out.

Rows go to benchmarks/results/choose.csv: one per pack and method, ensembles among them. Those of the pack
`mean` are over all packs, and tell by how much the ensemble is above the best single method, with the
interval of the test images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from anomaly import PACKS, TINY
from intact.anomaly import METHODS
from intact.bench.differences import RESAMPLES
from intact.bench.run import HELD_OUT, RECORD, SCORES, UNLABELLED
from intact.choose import FLATTERED, tell_apart
from intact.ensemble import COMBINE, surprise
from intact.evaluate import NORMAL
from intact.imitations import UNTOUCHED
from intact.metrics import auroc
from intact.metrics.resampling import aurocs, draw, interval
from intact.rows import read_rows
from results import FOLDER, environment, replace_rows, spread
from tables_anomaly import COLUMNS

ROWS = "choose.csv"
SEED = 0
MEAN = "mean"
MOST = 4  # members of an ensemble, as there are families
CHANCE = 0.5
Scores = Float[ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Known:
    """What was measured of one method on one pack.

    Args:
        held_out: Scores of normals that it has not learned from.
        imitated: By task, of imitations of disease; `UNTOUCHED` among them. nan where none was made. Empty,
            as `held_out` is, where these were not kept.
        test: Of the test images, in one order for all methods.
        abnormal: Which of those are.
        patients: Whose they are.
    """

    held_out: Scores
    imitated: Mapping[str, Scores]
    test: Scores
    abnormal: Bool[ndarray, "n"]
    patients: Shaped[ndarray, "n"]

    @property
    def guess(self) -> float:
        """Mean AUROC over the imitations; nan where there are none."""
        return float(np.mean(list(tell_apart(self.imitated).values()))) if self.imitated else np.nan

    @property
    def auroc(self) -> float:
        """Of the real disease."""
        return auroc(self.test, self.abnormal)


Methods = Mapping[str, Known]
Packs = Mapping[str, Methods]


def known(pack: str) -> dict[str, Known]:
    """Everything measured of a pack."""
    found = {}
    for cell in sorted((FOLDER / "anomaly" / pack / "cells").iterdir()):
        if (cell / RECORD).exists():
            identity = json.loads((cell / RECORD).read_text())["identity"]
            fields = identity["fields"]
            if fields["seed"] == SEED and fields.get("backbone") != "narrow_resnet18":
                found[identity["method"]] = _read(pack, cell)
    return found


def _read(pack: str, cell: Path) -> Known:
    tasks: dict[str, dict[int, float]] = {HELD_OUT: {}}
    for row in read_rows(cell / UNLABELLED) if (cell / UNLABELLED).exists() else ():
        tasks.setdefault(row["task"], {})[int(row["image"])] = float(row["score"])
    held_out = np.array(list(tasks.pop(HELD_OUT).values()))
    images = sorted(tasks.get(UNTOUCHED, ()))
    imitated = {task: np.array([of.get(n, np.nan) for n in images]) for task, of in tasks.items()}
    told = {NORMAL, *(kind for of, kind in COLUMNS if of == pack)}
    rows = sorted((row for row in read_rows(cell / SCORES) if row["kind"] in told), key=lambda r: r["image"])
    return Known(
        held_out,
        imitated,
        np.array([float(row["score"]) for row in rows]),
        np.array([row["kind"] != NORMAL for row in rows]),
        np.array([int(row["group"]) for row in rows]),
    )


def joined(members: Sequence[Known], combine: str) -> Known:
    """What an ensemble says: surprise of each member among its held-out normals, combined."""

    def join(scores: Sequence[Scores]) -> Scores:
        surprises = [surprise(each, of.held_out) for each, of in zip(scores, members, strict=True)]
        return np.asarray(COMBINE[combine](np.stack(surprises)))

    first = members[0]
    return Known(
        join([of.held_out for of in members]),
        {task: join([of.imitated[task] for of in members]) for task in first.imitated},
        join([of.test for of in members]),
        first.abnormal,
        first.patients,
    )


def grown(packs: Packs, names: Sequence[str]) -> list[str]:
    """Begun with the default; then the method that most helps to tell imitations, as long as one does."""

    def guess(members: Sequence[str]) -> float:
        return float(np.mean([joined([of[m] for m in members], "fisher").guess for of in packs.values()]))

    members = [max(names, key=lambda name: guess([name]))]
    while len(members) < MOST:
        better = max(set(names) - set(members), key=lambda name: guess([*members, name]), default=None)
        if better is None or guess([*members, better]) <= guess(members):
            break
        members.append(better)
    return members


def unlike(packs: Packs, names: Sequence[str]) -> list[str]:
    """Of each family the method that tells imitations best, unless it is blind to them."""
    guesses = {name: float(np.mean([of[name].guess for of in packs.values()])) for name in names}
    ranked = sorted((name for name in names if guesses[name] > CHANCE), key=guesses.__getitem__, reverse=True)
    best: dict[str, str] = {}
    for name in ranked:
        best.setdefault(METHODS[name].family, name)
    return list(best.values())


def rows_of(pack: str, methods: Methods, together: Methods, default: str) -> list[dict[str, Any]]:
    """One row per method, and one per way to join the ensemble's members."""
    best = max(of.auroc for of in methods.values())
    picked = max(choosable(methods), key=lambda name: methods[name].guess)
    return [
        {
            "pack": pack,
            "method": name,
            "imitated": of.guess,
            "auroc": of.auroc,
            "shortfall": best - of.auroc,
            "picked": int(name == picked),
            "default": int(name == default),
            "methods": len(methods),
        }
        for name, of in {**methods, **together}.items()
    ]


def means(packs: Packs, together: Packs, default: str) -> list[dict[str, Any]]:
    """Over all packs: the methods measured on each, and the ensembles beside the best of them."""

    def mean(of: Packs, name: str) -> float:
        return float(np.mean([methods[name].auroc for methods in of.values()]))

    single = {name: mean(packs, name) for name in in_all(packs)}
    best = max(single, key=lambda name: single[name])
    rows = []
    for of, name in [(packs, name) for name in single] + [(together, name) for name in in_all(together)]:
        value, gains = mean(of, name), [gained(of[pack][name], packs[pack][best]) for pack in packs]
        rows.append({
            "pack": MEAN,
            "method": name,
            "imitated": float(np.mean([methods[name].guess for methods in of.values()])),
            "auroc": value,
            "shortfall": single[best] - value,
            "default": int(name == default),
            "methods": len(single),
            "best": best,
        } | spread("above", interval(value - single[best], np.mean(gains, axis=0))))  # fmt: skip
    return rows


def choosable(methods: Methods) -> dict[str, Known]:
    """Those with imitations that were not taught with something like them."""
    return {name: of for name, of in methods.items() if of.imitated and METHODS[name].family != FLATTERED}


def in_all(packs: Packs) -> list[str]:
    """Names that every pack has."""
    return sorted(set.intersection(*(set(methods) for methods in packs.values())))


def gained(one: Known, other: Known) -> Float[ndarray, "resamples"]:
    """By how much one method is above another on resampled test images."""
    counts = draw(one.patients, one.abnormal, RESAMPLES)
    return aurocs(one.test, one.abnormal, counts) - aurocs(other.test, one.abnormal, counts)


def main() -> None:
    """Tell what would be chosen, and how good that is."""
    packs = {pack: known(pack) for pack in (*PACKS, TINY)}
    common = in_all({pack: choosable(methods) for pack, methods in packs.items()})
    ensembles = {
        f"{'+'.join(members)} ({way})": (members, way)
        for members in (unlike(packs, common), grown(packs, common))
        for way in COMBINE
        if len(members) > 1
    }
    together = {
        pack: {name: joined([methods[m] for m in members], way) for name, (members, way) in ensembles.items()}
        for pack, methods in packs.items()
    }
    default = grown(packs, common)[0]
    tables = {pack: rows_of(pack, packs[pack], together[pack], default) for pack in packs}
    for pack, rows in {**tables, MEAN: means(packs, together, default)}.items():
        replace_rows(ROWS, {"pack": pack}, [row | environment() for row in rows])
        for row in sorted(rows, key=lambda row: -row["auroc"]):
            marks = " picked" * row.get("picked", 0) + " default" * row["default"]
            print(f"{pack:15} {row['method']:50} {row['imitated']:.3f} {row['auroc']:.3f}{marks}")


if __name__ == "__main__":
    main()
