"""The 8 x 8 grid that JPEG leaves: where it lies, and which regions have another one.

Nikoukhah, Anger, Ehret, Colom, Morel & Grompone von Gioi, "JPEG grid detection based on the number of
DCT zeros and its application to automatic and localized forgery detection", CVPR Workshops 2019, and
"ZERO: a local JPEG grid origin detector based on the number of DCT zeros and its applications in image
forensics", IPOL 2021. JPEG rounds many cosine coefficients to zero; a window that lies on its grid has
more zeros than windows beside. Every pixel votes for the grid whose window over it has most. By
chance, votes would fall on each of the 64 grids alike, and that tells how often so many of one kind
would occur: a number of false alarms, not a threshold.

Differs from the papers: regions without any grid are not looked for, and neighbours of one region are
found by joining votes up to 9 pixels apart at once instead of growing regions one by one. Only images
of 8 bits are examined, as deeper ones cannot have come from such a file; elsewhere it abstains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import ndimage, stats
from scipy.fft import idctn

from intact.forensics.base import Evidence, Examiner
from intact.image import Image

SIDE = 8
GRIDS = SIDE * SIDE
ZERO = 0.5  # grey levels below which a coefficient counts as rounded to zero
REACH = 9  # pixels apart that votes of one region may be
NONE = -1  # no vote

Votes = Int[ndarray, "h w"]


@dataclass(eq=False)
class JPEGGrid(Examiner):
    """Finds regions whose JPEG grid is not that of the rest: pasted from another file, or moved."""

    kind = "compression"
    source = "Nikoukhah et al., CVPR Workshops 2019; IPOL 2021"

    def _examine(self, plane: Float[ndarray, "h w"], valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        if image.pixels.dtype != np.uint8 or image.bits < 8:
            return self._abstain(f"values of {image.bits} bits do not come from an 8-bit JPEG file")
        if min(plane.shape) < 4 * SIDE:
            return self._abstain("the image is too small to have a grid")
        votes = grid_votes(plane)
        grid, alarms = main_grid(votes)
        if grid == NONE:
            return self._abstain("nothing shows that the image was ever compressed as JPEG")
        found, fewest = foreign_regions(votes, grid)
        row, column = divmod(grid, SIDE)
        moved = f", {row} rows and {column} columns off the corner: it was cropped since" if grid else ""
        whole = f"The image has a JPEG grid{moved} (number of false alarms 1e{alarms:.0f})."
        score = max(0.0, -fewest)
        if not found.any():
            return Evidence(self.kind, 0.0, found.astype(np.float32), f"{whole} All of it fits.", p_value=1.0)
        said = (
            f"{whole} {np.count_nonzero(found):,} pixels have another grid (number of false alarms "
            f"1e{fewest:.0f}): they were compressed elsewhere, or moved after compression."
        )
        return Evidence(self.kind, score, found.astype(np.float32), said, p_value=min(1.0, 10.0**fewest))


def grid_votes(plane: Float[ndarray, "h w"]) -> Votes:
    """For every pixel the grid, 8 * row + column of its origin, whose window over it has most zeros.

    -1 where several have as many, where windows are constant along an axis, and at the border.
    """
    zeros = _zeros(plane)
    height, width = plane.shape
    most = np.full(plane.shape, -1, np.int16)
    votes = np.full(plane.shape, NONE, np.int16)
    for grid in range(GRIDS):
        top, left = divmod(grid, SIDE)
        # Windows of this grid, each spread over the pixels it covers.
        own = zeros[top::SIDE, left::SIDE]
        count = np.full(plane.shape, -1, np.int16)
        part = np.repeat(np.repeat(own, SIDE, axis=0), SIDE, axis=1)[: height - top, : width - left]
        count[top : top + part.shape[0], left : left + part.shape[1]] = part
        votes[count == most] = NONE
        better = count > most
        votes[better], most[better] = grid, count[better]
    votes[most <= 0] = NONE
    votes[: SIDE - 1] = votes[-SIDE + 1 :] = NONE
    votes[:, : SIDE - 1] = votes[:, -SIDE + 1 :] = NONE
    return votes


def main_grid(votes: Votes) -> tuple[int, float]:
    """The grid with most votes, and the decimal logarithm of its number of false alarms.

    The grid is -1 if chance would give as many votes.
    """
    counts = np.bincount(votes[votes >= 0], minlength=GRIDS)
    best = int(counts.argmax())
    alarms = _log_alarms(_log_tests(votes.shape), math.ceil(votes.size / GRIDS), int(counts[best]) // GRIDS)
    return (best if alarms < 0 else NONE), alarms


def foreign_regions(votes: Votes, grid: int) -> tuple[Bool[ndarray, "h w"], float]:
    """Where votes for another grid stand together more than chance allows.

    Returns:
        The regions, and the decimal logarithm of the smallest number of false alarms of one; 0 for none.
    """
    tests = _log_tests(votes.shape)
    smallest = math.ceil(GRIDS * tests / math.log10(GRIDS))
    found, fewest = np.zeros(votes.shape, bool), 0.0
    for other in np.flatnonzero(np.bincount(votes[votes >= 0], minlength=GRIDS) >= smallest):
        if other == grid:
            continue
        own = votes == other
        near = cv2.dilate(own.astype(np.uint8), np.ones((REACH, REACH), np.uint8)) > 0
        labels, _ = ndimage.label(near, np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            inside = own[box] & (labels[box] == number)
            size = int(np.count_nonzero(inside))
            if size < smallest:
                continue
            rows, columns = np.nonzero(inside)
            area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            alarms = _log_alarms(tests, int(area) // GRIDS, size // GRIDS)
            if alarms < 0:
                fewest = min(fewest, alarms)
                found[box] |= inside
    closed = cv2.morphologyEx(
        found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((2 * REACH + 1,) * 2, np.uint8)
    )
    return closed > 0, fewest


def _zeros(plane: Float[ndarray, "h w"]) -> Int[ndarray, "h2 w2"]:
    """How many cosine coefficients of the window that begins at each pixel round to zero.

    The mean does not count; windows that are constant along an axis have none.
    """
    height, width = plane.shape
    inner = (slice(0, height - SIDE + 1), slice(0, width - SIDE + 1))
    count = np.zeros((height - SIDE + 1, width - SIDE + 1), np.int16)
    unit = np.zeros((SIDE, SIDE), np.float32)
    for at in np.ndindex(SIDE, SIDE):
        if at == (0, 0):
            continue
        unit[:] = 0.0
        unit[at] = 1.0
        kernel = idctn(unit, norm="ortho").astype(np.float32)
        response = cv2.filter2D(plane, cv2.CV_32F, kernel, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
        count += np.abs(response[inner]) < ZERO
    for axis in (0, 1):
        flat = np.abs(np.diff(plane, axis=axis, append=np.take(plane, [-1], axis=axis))) == 0
        run = np.ones((SIDE - 1, SIDE) if axis == 0 else (SIDE, SIDE - 1), np.uint8)
        constant = cv2.erode(flat.astype(np.uint8), run, anchor=(0, 0), borderValue=0)[inner] > 0
        count[constant] = 0
    return count


def _log_tests(shape: tuple[int, ...]) -> float:
    return 2 * math.log10(GRIDS * shape[0] * shape[1])


def _log_alarms(tests: float, windows: int, hits: int) -> float:
    """Decimal logarithm of how often chance gives so many votes of one kind among all that are tried."""
    return tests + float(stats.binom.logsf(hits - 1, max(windows, hits), 1 / GRIDS)) / math.log(10)
