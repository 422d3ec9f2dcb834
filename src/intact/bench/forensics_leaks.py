"""The audit before a benchmark: can genuine and forged be told apart without looking for forgeries?

Sets in which genuine images are JPEG files and forged ones TIFF files, or only the forged ones were
saved anew, are common, and detectors reach 99 % on them by learning the format. So for every operator
decision trees that see nothing but formats, sizes, histograms, corners and compression are trained to
tell its cases from genuine ones, always on other patients than those they judge. They must be at
chance; where one is not, nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage, stats
from sklearn.tree import DecisionTreeClassifier

from intact import progress
from intact.bench import forensics_traits as traits
from intact.errors import UsageError
from intact.forge.cases import Case, middle_plane
from intact.forge.folds import folds_of
from intact.image import Image
from intact.io import read
from intact.metrics import auroc
from intact.metrics.resampling import aurocs, draw, interval
from intact.rows import Row

AUDITS = ("format and header", "size", "histogram", "corners and centre", "compression and noise")
RESAMPLES = 2000
CHANCE = 0.05  # how often a sound pack may be refused
MARGIN = 5  # pixels around a forgery that do not count either
DEEP, SMALLEST = 4, 0.05  # a tree's questions in a row; and its smallest leaf, as a share of the cases

Seen = Mapping[str, traits.Traits]  # by audit


@dataclass(frozen=True)
class Audit:
    """What a classifier that must fail came to.

    Args:
        operator: Whose cases it had to tell from genuine ones.
        name: What it saw, one of `AUDITS`.
        auroc: Over cases of patients that it did not learn from.
        low: Lower end of the interval over patients.
        high: Upper end.
        p_value: How often chance tells patients apart as well; 1 where there are too few patients to learn.
        telling: The trait that it used most; empty where all cases are alike in all of them.
        leaks: Whether it is significantly above chance.
    """

    operator: str
    name: str
    auroc: float
    low: float
    high: float
    p_value: float
    telling: str
    leaks: bool

    def row(self) -> Row:
        """For audit.csv."""
        return dict(vars(self)) | {"leaks": int(self.leaks)}


def audit(cases: Sequence[Case]) -> list[Audit]:
    """Try to tell the classes of a pack apart by what has nothing to do with forgeries.

    Raises:
        InputError: A file cannot be read.
    """
    seen = _looked_at(cases)
    groups = np.array([case.group for case in cases])
    forged = np.array([case.forged for case in cases])
    operators = sorted({case.operator for case in cases} - {""})
    level = 1 - CHANCE / (len(AUDITS) * len(operators))
    found = []
    tasks = [(operator, name) for operator in operators for name in AUDITS]
    for operator, name in progress.track(tasks, "auditing", len(tasks)):
        members = np.array([case.operator in ("", operator) for case in cases])
        table, names = _table([one[name] for one, member in zip(seen, members, strict=True) if member])
        found.append(_judge(operator, name, table, names, forged[members], groups[members], level))
    return found


def refuse_leaks(pack: str, found: Sequence[Audit]) -> None:
    """Stop where an audit is above chance.

    Raises:
        UsageError: Names what tells the classes apart.
    """
    leaks = [one for one in found if one.leaks]
    if not leaks:
        return
    worst = max(leaks, key=lambda one: one.auroc)
    others = sorted({one.name for one in leaks} - {worst.name})
    raise UsageError(
        f"{pack} leaks: its {worst.operator} images are told from genuine ones by {worst.name} alone "
        f"(AUROC {worst.auroc:.2f}, {worst.low:.2f} to {worst.high:.2f}"
        + (f", mostly by: {worst.telling}" if worst.telling else "")
        + ")"
        + (f", and by {', '.join(others)}" if others else "")
        + "; whatever finds its forgeries may have found that instead, so nothing was measured. Write "
        "genuine and forged images with one program after equal treatment, or let --kind forge genuine ones"
    )


def _looked_at(cases: Sequence[Case]) -> list[Seen]:
    """The traits of each case."""
    hidden: dict[tuple[str, str], Bool[ndarray, "h w"]] = {}
    for case in progress.track(cases, "looking at cases", len(cases)):
        if case.mask is not None:
            image = read(case.image)
            mask = middle_plane(case.labels(image.shape), image) > 0
            place = _place(case)
            if place in hidden and hidden[place].shape == mask.shape:
                mask = mask | hidden[place]
            hidden[place] = mask
    found = []
    for case in progress.track(cases, "collecting traits", len(cases)):
        image = read(case.image)
        found.append(_of_one(case, image, hidden.get(_place(case))))
    return found


def _place(case: Case) -> tuple[str, str]:
    """What cases have in common that are forged in the same places, or nowhere."""
    return (f"pair {case.pair}" if case.pair else case.name, case.processing)


def _of_one(case: Case, image: Image, hidden: Bool[ndarray, "h w"] | None) -> Seen:
    plane = middle_plane(image.pixels, image).astype(np.float64)
    counted = ~middle_plane(image.padding_mask(), image) & np.isfinite(plane)
    if hidden is not None and hidden.shape == plane.shape:
        counted &= ~ndimage.binary_dilation(hidden, iterations=MARGIN)
    if not counted.any():  # all of it is processed: there is no rest to look at
        counted = np.isfinite(plane)
    plane = np.where(np.isfinite(plane), plane, 0.0)
    file = sorted(case.image.rglob("*"))[0] if case.image.is_dir() else case.image
    return {
        "format and header": traits.header(file.read_bytes()),
        "size": traits.size(image),
        "histogram": traits.histogram(plane, counted),
        "corners and centre": traits.marks(plane),
        "compression and noise": traits.history(plane, counted),
    }


def _table(rows: Sequence[traits.Traits]) -> tuple[Float[ndarray, "n k"], list[str]]:
    """Traits as columns; what is alike in all cases is left out."""
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    varied = np.ptp(table, axis=0) > 0
    return table[:, varied], [name for name, kept in zip(names, varied, strict=True) if kept]


def _judge(
    operator: str,
    name: str,
    table: Float[ndarray, "n k"],
    names: Sequence[str],
    forged: Bool[ndarray, "n"],
    groups: ndarray,
    level: float,
) -> Audit:
    folds = folds_of(groups.tolist(), 0)
    if not names or folds.max() == 0:
        return Audit(operator, name, 0.5, 0.5, 0.5, 1.0, "", leaks=False)
    chance = np.full(len(table), 0.5)
    for fold in range(folds.max() + 1):
        out = folds == fold
        if len(set(forged[~out].tolist())) == 2:
            tree = _tree().fit(table[~out], forged[~out])
            chance[out] = tree.predict_proba(table[out])[:, 1]
    counts = draw(groups, forged, RESAMPLES)
    spread = interval(auroc(chance, forged), aurocs(chance, forged, counts), level)
    p_value = _above_chance(chance, forged, groups)
    importance = _tree().fit(table, forged).feature_importances_
    telling = names[int(importance.argmax())] if importance.any() else ""
    leaks = spread.low > 0.5 and p_value < 1 - level
    return Audit(operator, name, spread.value, spread.low, spread.high, p_value, telling, leaks)


def _tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(
        max_depth=DEEP, min_samples_leaf=SMALLEST, class_weight="balanced", random_state=0
    )


def _above_chance(chance: Float[ndarray, "n"], forged: Bool[ndarray, "n"], groups: ndarray) -> float:
    """One-sided p-value that forged cases get higher values, with one value per patient and class.

    The bootstrap alone believes a few patients that chance parts cleanly; ranks of few do not.
    """
    means = [
        [chance[(groups == group) & own].mean() for group in np.unique(groups[own])]
        for own in (forged, ~forged)
    ]
    if np.ptp(np.concatenate(means)) == 0:
        return 1.0
    return float(stats.mannwhitneyu(*means, alternative="greater").pvalue)
