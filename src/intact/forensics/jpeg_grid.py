"""The 8 x 8 grid that JPEG leaves: where it lies, and which regions have another one.

Nikoukhah, Anger, Ehret, Colom, Morel & Grompone von Gioi, "JPEG grid detection based on the number of
DCT zeros and its application to automatic and localized forgery detection", CVPR Workshops 2019, and
"ZERO: a local JPEG grid origin detector based on the number of DCT zeros and its applications in image
forensics", IPOL 2021. JPEG rounds many cosine coefficients to zero; a window that lies on its grid has
more zeros than windows beside. Every pixel votes for the grid whose window over it has most. By
chance, votes would fall on each of the 64 grids alike, and that tells how often so many of one kind
would occur: a number of false alarms, not a threshold.

Differs from the papers: regions without any grid are not looked for, and neighbours of one region are
found by joining votes up to 9 pixels apart at once instead of growing regions one by one. Regions are not
believed where the rest of the image votes for their grid too: all of it was compressed on that grid,
cropped, and saved again. Only images of 8 bits are examined, as deeper ones cannot have come from such a
file; elsewhere it abstains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.base import Evidence, Examiner
from intact.forensics.jpeg.history import jpeg_history
from intact.forensics.jpeg.votes import GRIDS, NONE, Votes, log_alarms, log_tests
from intact.image import Image

REACH = 9  # pixels apart that votes of one region may be
MOST = 1 / 3  # of all votes may be in regions that are foreign
SAME = -2.0  # decimal logarithm of the chance of votes outside of regions below which they are as inside


@dataclass(eq=False)
class JPEGGrid(Examiner):
    """Finds regions whose JPEG grid is not that of the rest: pasted from another file, or moved."""

    kind = "compression"
    source = "Nikoukhah et al., CVPR Workshops 2019; IPOL 2021"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        history = jpeg_history(plane, image)
        if isinstance(history, str):
            return self._abstain(history)
        found, fewest = foreign_regions(history.votes, history.grid)
        row, column = history.origin
        moved = f", {row} rows and {column} columns off the corner: it was cropped since"
        alarms = f"(number of false alarms 1e{history.log_alarms:.0f})"
        whole = f"The image has a JPEG grid{moved if history.grid else ''} {alarms}."
        score = max(0.0, -fewest)
        if not found.any():
            return Evidence(self.kind, 0.0, found.astype(np.float32), f"{whole} All of it fits.", p_value=1.0)
        said = (
            f"{whole} {np.count_nonzero(found):,} pixels have another grid (number of false alarms "
            f"1e{fewest:.0f}): they were compressed elsewhere, or moved after compression."
        )
        return Evidence(self.kind, score, found.astype(np.float32), said, p_value=min(1.0, 10.0**fewest))


def foreign_regions(votes: Votes, grid: int) -> tuple[Bool[ndarray, "h w"], float]:
    """Where votes for another grid stand together more than chance allows, and nowhere else.

    Returns:
        The regions, and the decimal logarithm of the smallest number of false alarms of one; 0 for none.
    """
    tests = log_tests(votes.shape)
    smallest = math.ceil(GRIDS * tests / math.log10(GRIDS))
    found, fewest = np.zeros(votes.shape, bool), 0.0
    for other in np.flatnonzero(np.bincount(votes[votes >= 0], minlength=GRIDS) >= smallest):
        if other == grid:
            continue
        regions, alarms = _regions(votes == other, tests, smallest)
        if alarms < 0 and not _elsewhere(votes, regions, grid, int(other)):
            fewest = min(fewest, alarms)
            found |= regions
    return found, fewest


def _regions(own: Bool[ndarray, "h w"], tests: float, smallest: int) -> tuple[Bool[ndarray, "h w"], float]:
    """Where votes of one kind stand together, closed; and the fewest false alarms of one such region."""
    near = cv2.dilate(own.view(np.uint8), np.ones((REACH, REACH), np.uint8))
    _, labels = cv2.connectedComponents(near, connectivity=8)
    sizes = np.bincount(labels[own])
    found, fewest = np.zeros(own.shape, bool), 0.0
    for number in np.flatnonzero(sizes >= smallest):
        inside = own & (labels == number)
        rows, columns = np.nonzero(inside)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        alarms = log_alarms(tests, int(area) // GRIDS, int(sizes[number]) // GRIDS)
        if alarms < 0:
            fewest = min(fewest, alarms)
            found |= inside
    if fewest == 0:
        return found, fewest
    around = np.ones((2 * REACH + 1,) * 2, np.uint8)
    return cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, around) > 0, fewest


def _elsewhere(votes: Votes, regions: Bool[ndarray, "h w"], grid: int, other: int) -> bool:
    """Whether regions are too much of the image, or votes against its grid go to theirs outside of them too.

    Then all of the image was compressed on that grid once, and cropped before it was saved again.
    """
    voted = votes != NONE
    if np.count_nonzero(voted & regions) > MOST * np.count_nonzero(voted):
        return True
    away = cv2.dilate(regions.astype(np.uint8), np.ones((2 * REACH + 1,) * 2, np.uint8)) == 0
    against = votes[away & voted & (votes != grid)]
    hits = int(np.count_nonzero(against == other))
    return log_alarms(0.0, against.size // GRIDS, hits // GRIDS) < SAME
