"""What the rows of one image mean, in sentences under three headings that must not be confused.

An ill patient, a disturbed acquisition and a changed file all make an image unusual. Detectors of
anomalies cannot tell them apart; each examiner looks for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intact.report.words import p_text

Row = Mapping[str, Any]

ABNORMAL, ARTEFACT, MANIPULATED, RECORDED = (
    "Abnormal anatomy",
    "Acquisition artefact",
    "Manipulated file",
    "On record",
)
EXAMINERS = ("acquisition", "forensics")  # families whose rows tell what they saw in sentences
_WEIGHTS = {
    "impossible": "No legitimate chain of programs leaves this.",
    "unusual": "Unusual, but it can have an innocent cause: ask who wrote the file.",
}


GRAVE = tuple(_WEIGHTS)  # severities of findings that speak against a file


@dataclass(frozen=True)
class Statement:
    """One sentence and what it rests on.

    Args:
        by: The detector or examiner, or the rule and element of a header.
        p_value: As text; a dash where there is none.
        said: The sentence.
        weight: What a finding in a header amounts to; empty for pixels.
        files: That show it.
    """

    by: str
    p_value: str
    said: str
    weight: str = ""
    files: tuple[str, ...] = ()


def statements(rows: Sequence[Row]) -> dict[str, list[Statement]]:
    """The statements of one image under their headings; headings without any are left out."""
    said: dict[str, list[Statement]] = {ABNORMAL: [], ARTEFACT: [], MANIPULATED: [], RECORDED: []}
    for row in rows:
        if row["flagged"] and row["family"] not in EXAMINERS:
            said[ABNORMAL].append(_of_detector(row))
        for evidence in row.get("evidence") or ():
            heading = ARTEFACT if row["family"] == "acquisition" else _heading(evidence)
            said[heading].append(_of_evidence(evidence))
    return {heading: found for heading, found in said.items() if found}


def _heading(evidence: Row) -> str:
    return RECORDED if evidence["severity"] in ("information", "benign") else MANIPULATED


def _of_detector(row: Row) -> Statement:
    said = (
        f"Of normal images, a share of {p_text(row['p_value'])} would look at least as unusual as this one."
    )
    return Statement(row["detector"], p_text(row["p_value"]), said)


def _of_evidence(evidence: Row) -> Statement:
    by = " ".join(filter(None, (evidence["rule"], evidence["element"]))) or evidence["method"]
    return Statement(
        by,
        p_text(evidence["p_value"]),
        evidence["explanation"],
        _WEIGHTS.get(evidence["severity"], ""),
        tuple(evidence["files"]) if evidence["severity"] in _WEIGHTS else (),
    )
