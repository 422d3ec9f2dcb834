"""`ExaminerDesk`: the part of screening that asks whether an image was measured well and is genuine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from intact.examiner_model import ExaminerModel
from intact.findings import Row
from intact.forensics import METHODS
from intact.forensics.base import ARTEFACT, Evidence, Finding, Severity, Witness
from intact.forensics.decision import Decision, Genuine, compared, decide, group_of
from intact.forensics.examination import Examination, examine
from intact.forensics.instance import Series
from intact.forensics.ledger import Ledger
from intact.image import Image
from intact.io import Source
from intact.regions import marked_regions

ACQUISITION, FORENSICS = "acquisition", "forensics"  # its rows: was it measured well, is it genuine?
_SAID_BY = {"B3": "signature", "B5": "slices", "B6": "archive", "B11": "record", "TCE": "frames"}
SMALLEST = 1e-300  # p-value that is told apart from 0


@dataclass(frozen=True, eq=False)
class Opinion:
    """The answer to one of the two questions.

    Args:
        columns: Of its row.
        marked: Where the evidence lies, of the image's shape; None where it is in no place.
    """

    columns: Row
    marked: Float[ndarray, "..."] | None


class ExaminerDesk:
    """Asks every examiner that needs no training and those that were taught, and decides.

    Args:
        alpha: The share of genuine images that may be flagged for their pixels.
        genuine: Scores of genuine images, for examiners that need a comparison; without, they are not
            asked.
        recorded: Ledger of pixel digests.
        taught: Folders from `intact teach`.
    """

    def __init__(
        self,
        alpha: float,
        genuine: Path | None = None,
        recorded: Path | None = None,
        taught: Sequence[str] = (),
    ) -> None:
        self._alpha = alpha
        self._genuine = Genuine.load(genuine) if genuine else None
        self._ledger = Ledger(recorded) if recorded else None
        asked = {name: kind for name, kind in METHODS.items() if kind.routine}
        self._examiners: dict[str, Witness] = {
            name: kind() for name, kind in asked.items() if genuine or not kind.compares
        }
        models = {model.card.name: model for model in map(ExaminerModel.load, taught)}
        self._examiners |= models
        self._taught = frozenset(models)

    def look(self, image: Image, series: Series | None, sources: Sequence[Source]) -> dict[str, Opinion]:
        """Examine one image, its headers and its slices; the answers of both rows."""
        whole = examine(image, self._examiners, series, sources, self._ledger)
        disturbed = {name: e for name, e in whole.evidence.items() if e.kind == ARTEFACT}
        changed = {name: e for name, e in whole.evidence.items() if e.kind != ARTEFACT}
        parts = {
            ACQUISITION: Examination((), disturbed),
            FORENSICS: Examination(whole.findings, changed),
        }
        names = [source.name for source in sources]
        return {name: self._opinion(name, image, part, names) for name, part in parts.items()}

    def _opinion(self, row: str, image: Image, examination: Examination, names: Sequence[str]) -> Opinion:
        decision = decide(examination, group_of(image), self._genuine, self._alpha, self._taught)
        marked = _marked(examination, decision)
        regions = [] if marked is None else marked_regions(marked, image, decision.p_value or 0.0)
        p_value = decision.p_value
        columns: Row = {
            "family": row,
            "score": None if p_value is None else abs(math.log10(max(p_value, SMALLEST))),
            "p_value": p_value,
            "flagged": decision.flagged,
            "regions": [asdict(region) for region in regions],
            "evidence": _evidence(examination, decision, names),
            "silent": [
                name
                for name, evidence in examination.evidence.items()
                if not evidence.abstained and name not in decision.counted
            ],
            "abstained": {name: e.abstained for name, e in examination.evidence.items() if e.abstained},
        }
        return Opinion(columns, marked)


def scores_of(image: Image) -> tuple[str, dict[str, float]]:
    """The group of a genuine image, and its score from each examiner that needs a comparison."""
    examiners = {name: kind() for name, kind in METHODS.items() if kind.compares}
    return group_of(image), compared(examine(image, examiners).evidence)


def tell(row: Row, findings: Sequence[Finding]) -> None:
    """Add findings to a row of `FORENSICS`; those from unusual on flag it."""
    row["evidence"] = [*(_of_finding(finding, []) for finding in findings), *row["evidence"]]
    row["flagged"] |= any(finding.severity >= Severity.UNUSUAL for finding in findings)


def _marked(examination: Examination, decision: Decision) -> Float[ndarray, "..."] | None:
    """The maps of the evidence that counted, the highest value at each place."""
    maps = [examination.evidence[name].map for name in decision.counted]
    shown = [one for one in maps if one is not None and one.any()]
    return np.maximum.reduce(shown).astype(np.float32) if shown else None


def _evidence(examination: Examination, decision: Decision, names: Sequence[str]) -> list[dict[str, Any]]:
    """What is told: every finding, and the pixels' evidence that counted."""
    return [
        *(_of_finding(finding, names) for finding in examination.findings),
        *(_of_pixels(name, examination.evidence[name]) for name in decision.counted),
    ]


def _of_finding(finding: Finding, names: Sequence[str]) -> dict[str, Any]:
    """The files are told where they are not all of them; they are planes of a volume."""
    planes = [n for n, name in enumerate(names) if name in finding.files]
    others = [name for name in finding.files if name not in names]
    some = others or len(planes) < len(names)
    return {
        "method": _SAID_BY.get(finding.rule, "header"),
        "kind": "header" if finding.rule not in _SAID_BY else "series",
        "rule": finding.rule,
        "severity": finding.severity.name.lower(),
        "element": finding.element,
        "files": [*(names[n] for n in planes), *others] if some else [],
        "planes": planes if some else [],
        "score": None,
        "p_value": None,
        "explanation": finding.explanation,
    }


def _of_pixels(name: str, evidence: Evidence) -> dict[str, Any]:
    return {
        "method": name,
        "kind": evidence.kind,
        "rule": "",
        "severity": "",
        "element": "",
        "files": [],
        "planes": [],
        "score": evidence.score,
        "p_value": evidence.p_value,
        "explanation": evidence.explanation,
    }
