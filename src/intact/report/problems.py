"""Errors of a run, gathered by reason, each with one plain sentence of what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from intact.report.cards import Finding

# The first pattern found in a reason decides.
_ADVICE = (
    (r"encrypt|password", "Export the file again without encryption."),
    (
        r"without pixels|cannot be read as an image|unknown format|holds no image|archive inside",
        "Nothing is wrong with this run: leave the file out or convert it to DICOM, NIfTI or PNG.",
    ),
    (
        r"truncat|damaged|corrupt|empty|ends|short|checksum|decode",
        "Copy the file again from the archive; if it still fails, it is damaged there as well.",
    ),
    (
        r"\([0-9a-f]{4},[0-9a-f]{4}\)",
        "Export the file again from its source: an element that DICOM requires is missing or wrong.",
    ),
    (
        r"series|slice|spacing|orientation|geometry",
        "Export the complete series again, without localisers and screen captures.",
    ),
    (
        r"model|modality|normals|channel|shape|calibrat",
        "The image does not suit the model: screen it with one fitted on images of its own kind.",
    ),
    (r"memory|too large", "Screen this file on a machine with more memory, or split it by series."),
    (r"permission|denied", "Give this account the right to read the file, then run again."),
)
_OTHERWISE = "Open the file in a viewer; if it opens there, this is a fault of Intact worth reporting."


@dataclass(frozen=True)
class Problem:
    """One reason why files could not be screened.

    Args:
        reason: The message of the first file that met it.
        advice: What the user can do about it.
        paths: Files it happened to, each once, in the order of the run.
    """

    reason: str
    advice: str
    paths: list[str]


def group_errors(rows: Iterable[Finding]) -> list[Problem]:
    """Gather the errors of a run by reason, the most frequent first.

    Messages that differ in nothing but numbers have the same reason.
    """
    groups: dict[str, dict[str, str]] = {}  # reason without its numbers: {path: reason}
    for row in rows:
        if row["error"]:
            reason = row["error"].removeprefix(f"{row['path']}: ")
            groups.setdefault(re.sub(r"\d+", "#", reason), {}).setdefault(row["path"], reason)
    problems = [_problem(reasons) for reasons in groups.values()]
    return sorted(problems, key=lambda problem: -len(problem.paths))


def _problem(reasons: dict[str, str]) -> Problem:
    first = next(iter(reasons.values()))
    return Problem(first, advice(first), list(reasons))


def advice(reason: str) -> str:
    """What to do about a reason, in one sentence."""
    found = (words for pattern, words in _ADVICE if re.search(pattern, reason, re.IGNORECASE))
    return next(found, _OTHERWISE)
