"""One examiner on one case: what it says of the image, and how well its map fits the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from intact.configure import configure
from intact.errors import InputError, UsageError
from intact.examiner_model import ExaminerModel
from intact.findings import Row
from intact.forensics import METHODS
from intact.forensics.base import Evidence, Witness
from intact.forge.cases import Case
from intact.image import Image
from intact.io import read
from intact.metrics.tampering import FORGED, SOURCE, Confusion, judged, pixel_scores

THRESHOLD = 0.5  # at or above it a pixel of a map is called forged
ANY = float(np.nextafter(np.float32(0), np.float32(1)))  # the lowest threshold: what is marked at all
COUNTED = {"target": False, "both": True}  # whether what was copied counts as forged


@dataclass
class Worker:
    """Examines one case after the other, in whichever process.

    Args:
        method: Key in `intact.forensics.METHODS`, or the name of a taught examiner.
        fields: Those that differ from its defaults.
        taught: Folder of the taught examiner; it is loaded on first use, as this object travels.
    """

    method: str
    fields: Mapping[str, Any]
    taught: str = ""
    _witness: Witness | None = field(default=None, repr=False)

    def __call__(self, cases: Sequence[Case]) -> list[Row]:
        """The row of each case; one core, so that seconds compare."""
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        if self._witness is None:
            self._witness = (
                ExaminerModel.load(self.taught)
                if self.taught
                else configure(METHODS, self.method, self.fields)
            )
        return [self._one(case, self._witness) for case in cases]

    def lost(self, case: Case, reason: str) -> Row:
        """The row of a case that could not be examined."""
        return {"path": case.name, "error": reason}

    def _one(self, case: Case, witness: Witness) -> Row:
        try:
            image = read(case.image)
            labels = case.labels(image.shape)
            started = time.process_time()
            evidence = witness.examine(image)
            seconds = time.process_time() - started
        except InputError as error:
            return self.lost(case, error.reason)
        except UsageError as error:  # a palette, say, or a mask of another size
            return self.lost(case, str(error))
        if not evidence.abstained and not math.isfinite(evidence.score):
            return self.lost(case, f"{self.method} gave the score {evidence.score}")
        return {
            "path": case.name,
            "score": None if evidence.abstained else float(evidence.score),
            "p_value": evidence.p_value,
            "abstained": evidence.abstained,
            "explanation": evidence.explanation,
            "seconds": seconds,
            "error": None,
            "share": float(np.mean(labels == FORGED)),
            "pixels": _pixels(evidence, labels, image, forged=case.forged),
        }


def _pixels(
    evidence: Evidence, labels: UInt8[ndarray, "..."], image: Image, *, forged: bool
) -> dict[str, dict[str, Any]]:
    """Counts and ranks of a map's pixels, for what was pasted and, if known, also for its source.

    An examiner that abstains has marked nothing. Empty where there is nothing to tell apart: a forged
    image whose mask is unknown, or that was changed all over.
    """
    score_map = np.zeros(image.shape, np.float32) if evidence.map is None else evidence.map
    found = {}
    for name, sources in COUNTED.items():
        if sources and not (labels == SOURCE).any():
            continue
        if not forged or ((labels == FORGED).any() and (labels == 0).any()):
            found[name] = _judged(score_map, labels, sources=sources)
    return found


def _judged(
    score_map: Float[ndarray, "..."], labels: UInt8[ndarray, "..."], *, sources: bool
) -> dict[str, Any]:
    of = pixel_scores(score_map, labels, THRESHOLD, sources=sources)
    counted, truth = judged(score_map, labels, sources=sources)
    called = (score_map >= ANY)[counted]
    hits = int((called & truth[counted]).sum())
    calls, forged = int(called.sum()), int(truth[counted].sum())
    at_all = Confusion(hits, calls - hits, forged - hits, called.size - calls - forged + hits)
    return {
        "fixed": _counts(of.confusion),
        "any": _counts(at_all),
        "best_f1": _finite(of.oracle_f1),
        "auroc": _finite(of.auroc),
        "average_precision": _finite(of.average_precision),
        "all_forged_f1": _finite(of.all_forged_f1),
    }


def _counts(confusion: Confusion) -> list[int]:
    return [confusion.tp, confusion.fp, confusion.fn, confusion.tn]


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
