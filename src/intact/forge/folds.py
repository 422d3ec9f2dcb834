"""Which cases a trained examiner may learn from, and which it is judged by.

No patient is ever on both sides. With several operators, each in turn is left out of what is learned
from, as forgers do not keep to what examiners were trained on. An examiner that is not trained has
seen no operator, so its figures per operator are already of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from intact.data.splits import take_turns
from intact.forge.cases import Case

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Split:
    """One division of n cases.

    Args:
        fold: Whose patients are judged.
        operator: The one that is left out of the training; empty where none is.
        train: True where a case may be learned from.
        test: True where a case is judged.
    """

    fold: int
    operator: str
    train: Bool[ndarray, "n"]
    test: Bool[ndarray, "n"]


def folds_of(groups: Sequence[str], seed: int, *, members: int = 1) -> Int[ndarray, "n"]:
    """The fold of each image, whole patients at a time; all 0 where there are too few patients.

    Args:
        groups: The patient of each image.
        seed: Same patients and seed, same folds.
        members: Patients that a fold has at least.
    """
    count = min(FOLDS, len(set(groups)) // members)
    if count < 2:
        return np.zeros(len(groups), int)
    parts = take_turns(groups, 1 / count, seed)
    return np.argmax(np.stack(parts), axis=0)


def folds_of_cases(cases: Sequence[Case], seed: int, *, members: int = 1) -> Int[ndarray, "n"]:
    """The fold of each case, as `folds_of` deals them.

    Patients of a pack made here are numbers, and are dealt in their order: so the folds are those within
    which `intact.forge.pack` took foreign parts from other patients.
    """
    longest = max(len(case.group) for case in cases)
    return folds_of([case.group.zfill(longest) for case in cases], seed, members=members)


def leave_one_operator_out(cases: Sequence[Case], fold: Int[ndarray, "n"]) -> Iterator[Split]:
    """Every fold with every operator left out; with one operator, every fold alone; of one fold, none.

    Args:
        cases: Genuine and forged.
        fold: Of each, no patient's cases in two.
    """
    operator = np.array([case.operator for case in cases])
    if len(np.unique(fold)) < 2:
        return
    operators = sorted(set(operator.tolist()) - {""})
    left_out = operators if len(operators) > 1 else [""]
    for part in np.unique(fold).tolist():
        for name in left_out:
            other = operator != name if name else np.ones(len(cases), bool)
            own = (operator == name) | (operator == "") if name else np.ones(len(cases), bool)
            yield Split(part, name, (fold != part) & other, (fold == part) & own)
