"""What an examination comes to: findings, each with its weight and a sentence a court could read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How much a finding weighs. What is benign or information is never counted as tampering."""

    INFORMATION = 0
    BENIGN = 1  # what archives, anonymisers and converters leave
    UNUSUAL = 2
    IMPOSSIBLE = 3  # no legitimate chain of programs leaves this


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Args:
        rule: Its key in the reference of rules, such as "R3".
        severity: How much it weighs.
        element: The DICOM element that shows it, as "Rows (0028,0010)"; empty where there is none.
        explanation: A sentence. Of the patient module it names elements, never values.
        files: Which files show it.
    """

    rule: str
    severity: Severity
    element: str
    explanation: str
    files: tuple[str, ...]
