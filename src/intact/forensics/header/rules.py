"""How findings are worded and weighed, for all rules.

A change that one program made to every file, as archives and anonymisers do, weighs little; the same
change in some files of a series weighs all it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from intact.forensics.base import Finding, Severity
from intact.forensics.instance import Instance, Series
from intact.io.elements import tag

Found = Iterator[Finding]
Rule = Callable[[Series], Found]

FEW = 5  # of so many files one may be odd; more are another part of the acquisition, such as an echo


def those(series: Series, test: Callable[[Instance], bool]) -> list[int]:
    """The places of the files for which a test holds."""
    return [n for n, one in enumerate(series.instances) if test(one)]


def few(where: Sequence[int] | None, series: Series) -> bool:
    """Whether some files are odd, and not so many that they are a part of the acquisition."""
    return bool(where) and len(where or ()) <= max(1, len(series) // FEW)


def at(
    series: Series, where: Sequence[int], rule: str, severity: Severity, keyword: str, said: str
) -> Finding:
    """A finding in some files.

    Args:
        series: All files.
        where: The places of those that show it.
        rule: Its key.
        severity: How much it weighs.
        keyword: The element that shows it, or "".
        said: What the element does, "differs within one series"; a whole sentence without an element.
    """
    places = sorted({int(n) for n in where})
    files = tuple(series.instances[n].name for n in places)
    how_many = f"{len(places)} of {len(series)} files" if len(series) > 1 else "the file"
    element = tag(keyword) if keyword else ""
    return Finding(rule, severity, element, f"{element} {said} ({how_many}).".strip(), files)


def graded(
    series: Series, where: Sequence[int], rule: str, severity: Severity, keyword: str, said: str
) -> Finding:
    """A finding that weighs little where it is in every file: then one program rewrote them all."""
    if len(set(where)) == len(series):
        severity = min(severity, Severity.BENIGN)
        said += ", as in every file: one program's doing"
    return at(series, where, rule, severity, keyword, said)
