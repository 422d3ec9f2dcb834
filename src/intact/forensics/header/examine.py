"""Whether the headers of a series can be what scanners and archives left.

What is compared is in the files beside this one; here the findings come together, and what the files
themselves record of changes is believed (DICOM PS3.3 C.12.1.1.9).
"""

from __future__ import annotations

from dataclasses import replace

from intact.forensics.base import Finding, Severity
from intact.forensics.header import acquisition, compression, ct, identity, pixels, writer
from intact.forensics.instance import Series
from intact.io.elements import tag, text

RULES = (
    *identity.RULES,
    *acquisition.RULES,
    *pixels.RULES,
    *compression.RULES,
    *ct.RULES,
    *writer.RULES,
)


def examine_headers(series: Series) -> list[Finding]:
    """Everything in the headers of a series that does not agree.

    Args:
        series: All files of it that there are; a single file is examined by itself.

    Returns:
        The heaviest first.
    """
    recorded = _recorded_changes(series)
    found = [_excused(finding, recorded) for rule in RULES for finding in rule(series)]
    return sorted(found, key=lambda finding: -finding.severity)


def _recorded_changes(series: Series) -> dict[str, str]:
    """B4: the elements whose change the files record, and who changed them."""
    changed: dict[str, str] = {}
    for one in series.instances:
        for event in one.header.get("OriginalAttributesSequence") or ():
            who = text(event, "ModifyingSystem") or "a system that is not named"
            for before in event.get("ModifiedAttributesSequence") or ():
                changed |= {tag(element.keyword): who for element in before if element.keyword}
    return changed


def _excused(finding: Finding, recorded: dict[str, str]) -> Finding:
    if finding.element not in recorded:
        return finding
    said = f"{finding.explanation} The file records that {recorded[finding.element]} changed it."
    return replace(finding, severity=min(finding.severity, Severity.BENIGN), explanation=said)
