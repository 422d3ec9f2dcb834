"""Letters, side markers and arrows that were burnt into an image.

Text is what anatomy hardly ever is: thin, close to the brightest or darkest value there is, and set
off from all around it. Candidates are the connected parts of the white top-hat; each is kept as a
character of a line, as a single letter, or as an arrow. Thin strokes on lines as the mark of text
come from Epshtein, Ofek, Wexler, "Detecting text in natural scenes with stroke width transform",
CVPR 2010. Differs from it: the width of a stroke is twice its largest distance from the outside
instead of a search along gradients, the step to the surroundings is measured, and it matters where
the patient is. Inside the body of a CT or MR image nothing counts as text, as vessels and bone
there look just like strokes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray
from scipy import ndimage
from scipy.sparse.csgraph import connected_components
from skimage.morphology import convex_hull_image

from intact.image import Image
from intact.segment.anatomy import RECORDS_AIR, body
from intact.segment.grey import Grey, Values
from intact.segment.morphology import Mask

EIGHT = np.ones((3, 3), bool)
PROJECTIONS = ("DX", "CR", "MG", "RF", "XA", "PX", "IO")  # modalities with letters over the body
TOUCHING = 0.42  # of the frame: bodies touch more of it in radiographs, less in slices
OUTSIDE = 0.2  # of a stroke: how much of one outside the body may lie inside
# Lengths as shares of the shorter side.
HAT = 0.04  # side of the top-hat's square: wider than strokes, narrower than most bones
STROKE = 0.035  # width of a stroke at most
LETTER = (0.025, 0.14)  # height of a single letter
WORD = 0.2  # height and width of a part of a word at most
MARGIN = 0.25  # distance from the frame up to which single letters lie
SHARP = 0.0028  # within which a stroke gives way to its surroundings; at least 1 and at most 4 pixels
SMALLEST = (4, 0.005)  # height of a character, in pixels and as a share: what is smaller is noise
# Grey levels as shares of the image's range.
STEP = 0.2  # between a stroke and what surrounds it, at least; twice that where anatomy is likelier
STARK = (0.5, 0.97)  # step and extremeness that no anatomy has
PLAIN = {"outside": 0.95, "inside": 1.1}  # step and extremeness of a letter together, at least
# Shapes.
FREE = 0.4  # of its surroundings that no other stroke takes, at least
SOLID = (0.28, 0.66)  # share of its convex hull that a letter fills: between a ring and a blob
TALL = (0.6, 4.2)  # height by width of a letter, from A to a narrow R
LONG = 2.5  # height or width by stroke width of a letter, at least


def text(image: Image) -> Mask:
    """True on burnt-in letters, markers and arrows, with a rim of one pixel.

    Rather misses a letter than marks anatomy. It misses letters that touch brighter tissue or
    each other, dots, rings around letters, single letters far from the frame, and grey arrows.

    Args:
        image: Of any modality; a volume is searched plane by plane.

    Returns:
        bool, of the image's shape; empty where nothing looks like text.
    """
    values = Grey.of(image).values
    low, high = np.percentile(values, 1), values.max()
    if high <= low:
        return np.zeros(image.shape, bool)
    values = np.clip((values - low) / (high - low), 0, 1)
    patient = body(image)
    found = []
    for plane, inside in zip(_planes(values), _planes(patient), strict=True):
        over = _over_body(image, inside)
        marks = _marks(plane, inside, over, dark=False)
        found.append(marks if over == "no" else marks | _marks(1 - plane, inside, over, dark=True))
    return np.stack(found).reshape(image.shape)


@dataclass(frozen=True)
class _Stroke:
    """A thin connected part that may be a character.

    Args:
        number: Its label.
        box: First row and column, and those after the last.
        width: Of the stroke, in pixels.
        extreme: Its value, 1 for the image's largest.
        step: To its surroundings.
        solid: Share of its convex hull.
        runs: In how many pieces a row cuts it at most: two for an R, more for several letters.
        inside: Share inside the body.
        margin: Distance of its centre from the frame, in pixels.
    """

    number: int
    box: tuple[int, int, int, int]
    width: float
    extreme: float
    step: float
    solid: float
    runs: int
    inside: float
    margin: float

    @property
    def tall(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def wide(self) -> int:
        return self.box[3] - self.box[1]


def _over_body(image: Image, inside: Mask) -> Literal["yes", "perhaps", "no"]:
    """Whether letters may lie over the body: in radiographs, whose bodies reach the frame."""
    frame = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if image.modality in PROJECTIONS:
        return "yes"
    if image.modality in RECORDS_AIR or frame.mean() < TOUCHING:
        return "no"
    return "perhaps" if inside.all() else "yes"


def _marks(values: Values, body: Mask, over: str, *, dark: bool) -> Mask:
    """The text among the strokes of a plane whose values run from 0 to 1."""
    labels = _strokes(values)
    strokes = _measured(values, labels, body, over, dark=dark)
    step = STEP * (2 if dark or over == "perhaps" else 1)
    side = min(values.shape)
    kept = _words(strokes, STEP * (1 + dark))
    for stroke in strokes:
        letter = stroke.step > step and _like_a_letter(stroke, side)
        arrow = over == "yes" and stroke.step > STARK[0] and stroke.extreme > STARK[1]
        if (letter and not (dark and over == "perhaps")) or (dark and arrow):
            kept.add(stroke.number)
    text: Mask = ndimage.binary_dilation(np.isin(labels, list(kept)), EIGHT)
    return text


def _strokes(values: Values) -> ndarray:
    """Labels of thin bright parts, each cut at half of its height above the surroundings."""
    size = 2 * max(2, round(HAT * min(values.shape) / 2)) + 1
    hat = values - ndimage.grey_opening(values, size)
    labels, count = ndimage.label(hat > STEP, EIGHT)
    peaks = np.append(0.0, ndimage.maximum(hat, labels, np.arange(1, count + 1)))
    return ndimage.label((labels > 0) & (hat > peaks[labels] / 2), EIGHT)[0]


def _measured(values: Values, labels: ndarray, body: Mask, over: str, *, dark: bool) -> list[_Stroke]:
    """The strokes that have the size of characters, may lie where they do, and are set off there."""
    side = min(values.shape)
    gap = int(np.clip(round(SHARP * side), 1, 4))
    boxes = ndimage.find_objects(labels)
    shares = ndimage.mean(body, labels, np.arange(1, len(boxes) + 1))
    found = []
    for number, ((rows, columns), inside) in enumerate(zip(boxes, shares, strict=True), start=1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if tall < max(SMALLEST[0], SMALLEST[1] * side) or max(tall, wide) > WORD * side:
            continue
        if (inside > OUTSIDE and over == "no") or (inside <= OUTSIDE and dark):
            continue
        around = _widened(rows, 3 * gap + 1), _widened(columns, 3 * gap + 1)
        here, own = values[around], labels[around] == number
        # Padded, as the distance is to the outside, which begins at the frame too.
        width = 2 * ndimage.distance_transform_edt(np.pad(own, 1)).max() - 1
        ring = ndimage.binary_dilation(own, EIGHT, 3 * gap) & ~ndimage.binary_dilation(own, EIGHT, gap)
        free = ring & ~ndimage.binary_dilation((labels[around] > 0) & ~own, EIGHT, gap)
        if width > STROKE * side or free.sum() < max(8, FREE * ring.sum()):
            continue
        # The brightest of the surroundings: a bone goes on there, at one end at least.
        step = np.median(here[own]) - np.percentile(here[free], 90)
        if step < STEP:
            continue
        row, column = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
        margin = min(row, values.shape[0] - row, column, values.shape[1] - column)
        extreme = np.percentile(here[own], 95)
        box = (rows.start, columns.start, rows.stop, columns.stop)
        found.append(_Stroke(number, box, width, extreme, step, _solidity(own), _runs(own), inside, margin))
    return found


def _widened(extent: slice, by: int) -> slice:
    return slice(max(0, extent.start - by), extent.stop + by)


def _solidity(part: Mask) -> float:
    """Share of its convex hull that a part fills."""
    hull = convex_hull_image(part) if min(np.ptp(axis) for axis in part.nonzero()) else part
    return float(part.sum() / hull.sum())


def _runs(part: Mask) -> int:
    """In how many pieces a row cuts a part, at most."""
    starts = np.diff(part.astype(np.int8), axis=1, prepend=0) > 0
    return int(starts.sum(axis=1).max())


def _words(strokes: list[_Stroke], step: float) -> set[int]:
    """Labels of strokes that stand on a line with others of their height, three characters at least."""
    if not strokes:
        return set()
    top, left, bottom, right = np.array([stroke.box for stroke in strokes]).T
    tall, middle = bottom - top, (top + bottom) / 2
    taller = np.maximum(tall[:, None], tall)
    same = np.minimum(tall[:, None], tall) * 1.8 >= taller  # an x beside an h
    level = np.abs(middle[:, None] - middle) <= 0.4 * taller
    near = np.maximum(left[:, None], left) - np.minimum(right[:, None], right) < taller
    count, line = connected_components(same & level & near, directed=False)
    kept = set()
    for number in range(count):
        members = [stroke for stroke, on in zip(strokes, line, strict=True) if on == number]
        characters = sum(max(1, stroke.runs // 2) for stroke in members)
        if (
            characters >= 3
            and max(stroke.runs for stroke in members) > 1  # else a row of dots or bars
            and np.median([stroke.step for stroke in members]) > step
        ):
            kept |= {stroke.number for stroke in members}
    return kept


def _like_a_letter(stroke: _Stroke, side: int) -> bool:
    """Whether a stroke has a single letter's size, shape and place."""
    plain = PLAIN["inside" if stroke.inside > OUTSIDE else "outside"]
    return (
        max(SMALLEST[0] + 2, LETTER[0] * side) <= stroke.tall <= LETTER[1] * side
        and TALL[0] < stroke.tall / stroke.wide < TALL[1]
        and max(stroke.tall, stroke.wide) >= LONG * stroke.width
        and SOLID[0] < stroke.solid < SOLID[1]
        and stroke.step + stroke.extreme > plain
        and stroke.margin < MARGIN * side
    )


def _planes(stack: ndarray) -> ndarray:
    return stack.reshape(-1, *stack.shape[-2:])
