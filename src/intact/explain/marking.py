"""From a region in the report of a run to a mark of a normal variant."""

from __future__ import annotations

from pathlib import Path

from intact.errors import UsageError
from intact.explain.eyes import see
from intact.explain.variants import Variant, Variants
from intact.io import Unit, index, read_unit
from intact.report.cards import Card, Finding, flagged_images
from intact.report.html import read_findings, read_run


def mark_region(site: str | Path, run: str | Path, image: str, region: int, note: str) -> Variant:
    """Mark a flagged region of a run as a normal variant of a site.

    Args:
        site: Folder with the marks, made at the first.
        run: Folder of the run.
        image: The image's path as the findings give it, or its end, if only one ends so.
        region: Its number in the report, from 1.
        note: In the reader's words.

    Raises:
        UsageError: There is no such run, image or region, or the site's folder holds something else.
        InputError: The image cannot be read any more.
    """
    variants = Variants(site)
    record = read_run(Path(run))
    rows, _ = read_findings(Path(run), identify=False)
    card = _card(flagged_images(rows), image)
    name = card.first["path"]
    wanted = next((found for number, _, found in card.regions if number == region), None)
    if wanted is None:
        raise UsageError(f"{name}: has {len(card.regions)} regions in the report, so there is no {region}")
    units = index([Path(path) for path in record["paths"]])
    unit = next((unit for unit in units if isinstance(unit, Unit) and unit.name == name), None)
    if unit is None:
        raise UsageError(f"{name}: is not there any more, or not where {run} was started from")
    picture = read_unit(unit)
    (seen,) = see(picture, [wanted["plane"]])
    return variants.mark(picture, seen, wanted["box"], note)


def _card(images: list[list[Finding]], image: str) -> Card:
    """The card of the one flagged image with this name."""
    found = [rows for rows in images if rows[0]["path"] == image]
    found = found or [rows for rows in images if rows[0]["path"].endswith(image)]
    if len(found) != 1:
        what = "several flagged images are called so" if found else "no flagged image is called so"
        raise UsageError(f"{image}: {what}; give its path as the report has it")
    return Card(rows=found[0])
