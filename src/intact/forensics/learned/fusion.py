"""`fusion`: several examiners, taught and not, whose p-values are weighed by what each adds to the others.

Mareen, De Neve, Lambert, Van Wallendael, "Harmonizing image forgery detection and localization: fusion of
complementary approaches", Journal of Imaging 10(1):4, 2024, found that methods that see different traces add
up, and measured by how much. Their fusion, a generative adversarial network over heat maps, carried badly to
other images. Here it is as plain as can be, and each member's part can be told:

- a quarter of the patients is kept from the taught members; on it everything below is learned;
- the score of a member becomes a p-value among genuine images, as if beyond the highest of them the tail fell
  off exponentially (peaks over threshold with shape 0, Pickands, Annals of Statistics 3, 1975), so that clear
  cases are still ranked; who abstains has p = 1;
- the score of an image is a logistic regression on the logarithms of these p-values, with weights that are
  never below 0: no member can speak for an image by finding it suspicious;
- the map is a logistic regression, with such weights, on the logits of the members' maps, learned on as many
  forged as genuine pixels of each forged image; who abstains says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.data.splits import hold_out
from intact.errors import UsageError
from intact.forensics.base import Evidence, Examiner
from intact.forensics.learned.base import LearnedExaminer, Lesson, Lessons
from intact.forge.base import FORGED, GENUINE
from intact.image import Image

KEPT = 0.25  # of the patients, from the members
TAIL = 0.1  # of the genuine scores: where the tail begins
PIXELS = 200  # forged ones of a plane, and as many genuine ones
SUREST = 6.0  # the largest logit of a map, and minus the smallest
FLOOR = 1e-12  # the smallest p-value
SHRINKAGE = 1e-2  # of the weights, in units of the mean loss
HEAVIEST = 3  # members that an explanation names


@dataclass(eq=False)
class Fusion(LearnedExaminer):
    """How much the p-values of its members speak for a forgery, as log odds.

    Args:
        members: Names of examiners that need no lessons and of taught ones, two or more.
        steps: Of the members that are taught; 0 leaves each its own.
    """

    members: tuple[str, ...] = ("backbone", "constrained_cnn", "noise_level", "patchmatch")
    steps: int = 0

    source: ClassVar[str] = "Mareen et al., Journal of Imaging 2024; logistic stacking"

    def __post_init__(self) -> None:
        from intact.forensics import LEARNED, METHODS  # they list this class

        known = [name for name in (*METHODS, *LEARNED) if LEARNED.get(name) is not type(self)]
        if unknown := [name for name in self.members if name not in known]:
            raise UsageError(f"unknown member {unknown[0]!r}; choose of {', '.join(known)}")
        if len(set(self.members)) < 2:
            raise UsageError("a fusion joins two examiners or more: name them in members")

    def _build(self, channels: int) -> None:
        from intact.forensics import LEARNED

        for name in self.members:
            if name in LEARNED:
                own = {"steps": self.steps} if self.steps and hasattr(LEARNED[name], "steps") else {}
                setattr(self, f"member_{name}", LEARNED[name](seed=self.seed, **own))

    def _fit(self, lessons: Lessons) -> None:
        patients = [image.identity.patient or f"image {n}" for n, (image, _) in enumerate(lessons)]
        kept = hold_out(patients, KEPT, self.seed)
        for part in self._parts().values():
            if isinstance(part, LearnedExaminer):
                part.fit(Some(lessons, ~kept))
        scores, forged, seen, truth = self._asked_about(Some(lessons, kept))
        if not forged.any() or forged.all():
            raise ValueError("there are too few genuine or forged images to learn from: give more patients")
        ordered = [np.sort(column[np.isfinite(column) & ~forged]) for column in scores.T]
        longest = max(len(one) for one in ordered)
        filled = [np.append(one, np.full(longest - len(one), np.nan)) for one in ordered]
        self.genuine_ = torch.from_numpy(np.stack(filled))
        self.image_weights_ = torch.from_numpy(weighed(self._evidence(scores), forged))
        self.pixel_weights_ = torch.from_numpy(weighed(seen, truth))

    def _examine(self, plane: Float[ndarray, "..."], valid: Bool[ndarray, "..."], image: Image) -> Evidence:
        self._check_fitted()
        told = {name: examiner.examine(image) for name, examiner in self._examiners().items()}
        if all(evidence.abstained for evidence in told.values()):
            return self._abstain(next(iter(told.values())).abstained)
        strength = self._evidence(np.array([[evidence.score for evidence in told.values()]]))[0]
        *weights, offset = self.image_weights_.tolist()
        parts = dict(zip(told, np.array(weights) * strength, strict=True))
        *shares, middle = self.pixel_weights_.tolist()
        logits = np.full(plane.shape, middle)
        for share, evidence in zip(shares, told.values(), strict=True):
            logits += share * _logits(evidence, plane.shape)
        chances = np.where(valid, 1.0 / (1.0 + np.exp(-logits)), 0.0).astype(np.float32)
        return Evidence(self.kind, float(sum(parts.values())) + offset, chances, _words(parts, told))

    def _examiners(self) -> Mapping[str, Examiner]:
        from intact.forensics import METHODS

        own = {name.removeprefix("member_"): part for name, part in self._parts().items()}
        found = {name: own[name] if name in own else METHODS[name]() for name in self.members}
        return {name: part for name, part in found.items() if isinstance(part, Examiner)}

    def _asked_about(
        self, lessons: Lessons
    ) -> tuple[Float[ndarray, "n m"], Bool[ndarray, "n"], Float[ndarray, "p m"], Bool[ndarray, "p"]]:
        """Scores of all members, which planes are forged; logits of chosen pixels, and which are forged."""
        rng = np.random.default_rng(self.seed)
        scores, forged, seen, truth = [], [], [], []
        for image, labels in lessons:
            told = [examiner.examine(image) for examiner in self._examiners().values()]
            scores.append([evidence.score for evidence in told])
            forged.append(bool((labels == FORGED).any()))
            if forged[-1]:
                logits = np.stack([_logits(evidence, labels.shape) for evidence in told])
                for value in (FORGED, GENUINE):
                    found = np.argwhere(labels == value)
                    chosen = found[rng.permutation(len(found))[:PIXELS]]
                    seen.append(logits[(slice(None), *chosen.T)].T)
                    truth.append(np.full(len(chosen), value == FORGED))
        if not seen:
            raise ValueError("there are no forged images with masks to learn from")
        return np.array(scores), np.array(forged), np.concatenate(seen), np.concatenate(truth)

    def _evidence(self, scores: Float[ndarray, "n m"]) -> Float[ndarray, "n m"]:
        """-log10 of the p-value of each score."""
        columns = [
            -np.log10(tail_p_values(column, known[~known.isnan()].numpy()))
            for column, known in zip(scores.T, self.genuine_, strict=True)
        ]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Some:
    """A part of the lessons."""

    lessons: Lessons
    chosen: Bool[ndarray, "n"]

    def __iter__(self) -> Iterator[Lesson]:
        return (one for one, taken in zip(self.lessons, self.chosen, strict=True) if taken)


def tail_p_values(scores: Float[ndarray, "n"], genuine: Float[ndarray, "k"]) -> Float[ndarray, "n"]:
    """How often a genuine image scores as high; beyond the highest of them the tail falls exponentially.

    Args:
        scores: NaN where an examiner abstained; then 1.
        genuine: In rising order.
    """
    if not len(genuine):
        return np.ones(len(scores))
    safe = np.where(np.isfinite(scores), scores, -np.inf)
    at_least = len(genuine) - np.searchsorted(genuine, safe, side="left")
    p = (1.0 + at_least) / (len(genuine) + 1.0)
    start = float(np.quantile(genuine, 1.0 - TAIL))
    excess = genuine[genuine > start] - start
    scale = float(excess.mean()) if len(excess) else 0.0
    if scale > 0:
        beyond = np.maximum(safe - genuine[-1], 0.0)
        p = np.where(safe > genuine[-1], np.exp(-beyond / scale) / (len(genuine) + 1.0), p)
    return np.where(np.isfinite(scores), np.maximum(p, FLOOR), 1.0)


def weighed(seen: Float[ndarray, "n m"], truth: Bool[ndarray, "n"]) -> Float[ndarray, "m+1"]:
    """Weights, none below 0, and the offset of a logistic regression in which both classes count alike."""
    from scipy.optimize import minimize

    sign = np.where(truth, 1.0, -1.0)
    share = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    table = np.column_stack([seen, np.ones(len(seen))])

    def loss(weights: Float[ndarray, "m+1"]) -> tuple[float, Float[ndarray, "m+1"]]:
        margin = sign * (table @ weights)
        value = float((share * np.logaddexp(0.0, -margin)).sum())
        slope = -table.T @ (share * sign / (1.0 + np.exp(np.clip(margin, -50, 50))))
        shrunk = np.append(weights[:-1], 0.0)
        return value + SHRINKAGE * float((shrunk**2).sum()), slope + 2 * SHRINKAGE * shrunk

    bounds = [(0.0, None)] * seen.shape[1] + [(None, None)]
    found = minimize(loss, np.append(np.full(seen.shape[1], 0.1), 0.0), jac=True, bounds=bounds)
    return np.asarray(found.x, np.float64)


def _logits(evidence: Evidence, shape: Sequence[int]) -> Float[ndarray, "h w"]:
    """Of a map; 0, which says nothing, where the examiner abstained."""
    if evidence.map is None:
        return np.zeros(tuple(shape))
    chances = np.clip(evidence.map.astype(np.float64), 1e-9, 1 - 1e-9)
    return np.clip(np.log(chances / (1 - chances)), -SUREST, SUREST)


def _words(parts: Mapping[str, float], told: Mapping[str, Evidence]) -> str:
    spoken = sorted((name for name in parts if parts[name] > 0), key=lambda name: -parts[name])
    whole = sum(parts.values())
    if not spoken:
        return "None of its members finds the image suspicious."
    named = [f"{name} ({100 * parts[name] / whole:.0f} %)" for name in spoken[:HEAVIEST]]
    return f"Most of the evidence comes from {', '.join(named)}. {told[spoken[0]].explanation}"
