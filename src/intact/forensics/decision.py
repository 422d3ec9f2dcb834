"""From what examiners say to one decision for an image, at a promised rate of false alarms.

Examiners that know how genuine images behave give p-values; the least of them counts, times their
number (Bonferroni); so with those that were taught, whose p-values come from genuine images that were
held out. The others only give scores, which mean something beside those of genuine images:
of the image and all genuine ones, each is ranked by every such examiner, and the best of its ranks is
ranked again. Under exchangeability that is a p-value whatever the scores are and however they depend
on one another (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005, for the best
rank as nonconformity measure). Headers have no rate: what no program leaves is told as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.errors import UsageError
from intact.forensics.base import Evidence, Severity
from intact.forensics.examination import Examination
from intact.image import Image
from intact.scores import normals_needed

FORMAT = 1  # of the file that holds scores of genuine images
Told = dict[str, float]  # score of each examiner that only comparison gives a meaning


@dataclass(frozen=True)
class Decision:
    """What the evidence comes to.

    Args:
        p_value: How often a genuine image would show as much in its pixels; None where nobody can say.
        severity: Of the heaviest finding in headers and slices.
        flagged: Whether somebody should look at it.
        counted: The examiners of pixels whose evidence led to that, the surest first.
    """

    p_value: float | None
    severity: Severity
    flagged: bool
    counted: tuple[str, ...]


@dataclass(frozen=True)
class Genuine:
    """Scores of images known to be genuine, by group: modality, planes or volumes.

    Args:
        groups: The scores of each image; examiners that abstained are missing.
    """

    groups: dict[str, list[Told]]

    @classmethod
    def of(cls, told: Iterable[tuple[str, Told]]) -> Genuine:
        """From the group and the scores of each image."""
        groups: dict[str, list[Told]] = {}
        for group, scores in told:
            groups.setdefault(group, []).append(scores)
        return cls(groups)

    @classmethod
    def load(cls, path: Path) -> Genuine:
        """Read what `save` wrote.

        Raises:
            UsageError: It is something else.
        """
        try:
            stored = json.loads(path.read_text("utf-8"))
            if stored["format"] != FORMAT:
                raise UsageError(f"{path}: its format is {stored['format']}, this version reads {FORMAT}")
            return cls(stored["groups"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}: holds no scores of genuine images ({type(error).__name__}); give a folder of "
                "genuine images, or the genuine.json of an earlier run"
            ) from error

    def as_json(self) -> str:
        """As a text that `load` reads from a file; without names of files or patients."""
        return json.dumps({"format": FORMAT, "groups": self.groups}, indent=0) + "\n"

    def p_values(self, scores: Told, group: str) -> dict[str, float]:
        """The share of genuine images of the group that each examiner scores as high, itself counted."""
        others = self.groups.get(group, [])
        return {
            name: (1 + sum(one.get(name, -math.inf) >= score for one in others)) / (len(others) + 1)
            for name, score in scores.items()
        }

    def p_value(self, scores: Told, group: str) -> float | None:
        """How often a genuine image of the group has a rank as good as this one's best.

        None where there is nothing to compare, or nothing to compare with.
        """
        others = self.groups.get(group, [])
        if not scores or not others:
            return None
        names = sorted({name for one in (scores, *others) for name in one})
        table = np.array([[one.get(name, -math.inf) for name in names] for one in (scores, *others)])
        best = _ranks(table).min(axis=1)
        return float((best <= best[0]).mean())

    def check(self, alpha: float) -> list[str]:
        """Which groups are too small for a rate of false alarms, in words."""
        needed = normals_needed(alpha)
        return [
            f"{len(images)} genuine images ({group}) are too few to flag anything at {alpha:g} by "
            f"comparison: give at least {needed}"
            for group, images in self.groups.items()
            if len(images) < needed
        ]


def group_of(image: Image) -> str:
    """What an image is compared with: images of the same modality, planes or volumes."""
    return f"{image.modality or 'unknown modality'}, {'planes' if image.planes == 1 else 'volumes'}"


def compared(evidence: Mapping[str, Evidence]) -> Told:
    """The scores that only mean something beside those of genuine images."""
    return {name: e.score for name, e in evidence.items() if not e.abstained and e.p_value is None}


def decide(
    examination: Examination,
    group: str,
    genuine: Genuine | None,
    alpha: float,
    taught: Collection[str] = (),
) -> Decision:
    """Whether an image is flagged as manipulated.

    Null models, taught examiners and comparison with genuine images share alpha alike, so that the few
    genuine images that a taught examiner is calibrated on are not outvoted by a dozen null models.

    Args:
        examination: What was said of it.
        group: Its group.
        genuine: Images to compare with, or None: then only null models and headers decide.
        alpha: The share of genuine images that pixels may flag.
        taught: Names of the examiners that were taught.
    """
    parts: list[tuple[float, dict[str, float]]] = []  # a p-value, and those of the examiners behind it
    own = {name: e.p_value for name, e in examination.evidence.items() if e.p_value is not None}
    for lessons in (False, True):
        some = {name: p for name, p in own.items() if (name in taught) is lessons}
        if some:
            each = {name: min(1.0, len(some) * p) for name, p in some.items()}
            parts.append((min(each.values()), each))
    beside = compared(examination.evidence)
    together = genuine.p_value(beside, group) if genuine else None
    if genuine is not None and together is not None:
        parts.append((together, genuine.p_values(beside, group)))
    p_value = min((min(1.0, len(parts) * p) for p, _ in parts), default=None)
    behind = {
        name: p
        for part, each in parts
        if len(parts) * part <= alpha
        for name, p in each.items()
        if p in (min(each.values()), part) or len(parts) * p <= alpha
    }
    flagged = bool(behind) or examination.weight >= Severity.UNUSUAL
    return Decision(p_value, examination.weight, flagged, tuple(sorted(behind, key=behind.__getitem__)))


def _ranks(table: Float[ndarray, "n m"]) -> Float[ndarray, "n m"]:
    """For each image and examiner, the share of all images that score at least as high."""
    ordered = np.sort(table, axis=0)
    at_least = np.stack(
        [len(table) - np.searchsorted(ordered[:, k], table[:, k], side="left") for k in range(table.shape[1])]
    )
    return at_least.T / len(table)
