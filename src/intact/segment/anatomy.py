"""Where the patient is in an image, where its head is, and where the device recorded anything at all.

Thresholds and morphology, nothing is learned. CT is cut at a fixed number of Hounsfield units.
Elsewhere the threshold stands just above the background, whose level and noise are read off the
border of the image: Otsu's own threshold (IEEE Trans. SMC 1979) lies between dark and bright tissue
as often as between tissue and background, so it only tells how bright tissue is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

from intact.image import Image

Mask = Bool[ndarray, "..."]  # [h,w] or [d,h,w], as the image's shape
Values = Float[ndarray, "..."]

SKIN = -500.0  # HU, half way between air (-1000) and water (0): cuts a blurred skin in its middle
LEAST = -1100.0  # HU; air is -1000 with a noise of some tens: what is lower was never measured
LUNG = -880.0  # HU; lungs as a whole are denser, mattresses and the air of the room are not
TABLE = 6.0  # mm; the shells of tables, tubes and wires are thinner, walls of the body are not
MEDIAN = 5  # pixels; quiets JPEG noise in black
# Lengths as shares of the shorter side, where there is no scale to trust.
BLUR = 0.004  # sigma before a threshold, one pixel at least
THIN = 0.012  # width of what is removed: letters, frames, shells of tables
EDGE = 0.03  # width of the border that is searched for background; drawn frames are thinner
BAY = 0.1  # width of what belongs to a head between its bright parts: mouth, ear, dark neck
ROUND = 0.015  # sigma that smooths the outline of a head
# Grey levels as shares of the difference between background and tissue.
TISSUE = 0.1  # where tissue begins: skin is not much brighter if its fat is suppressed
FLAT = 0.07  # how far a background strays from its level; lungs and soft tissue stray further
BLACK = (0.02, 0.05)  # where a picture is no longer black, with least and with most noise
# Grey levels above the image's darkest, as shares of its range.
DARK = 0.1  # where the level of a background lies at most
DIM = 0.3  # up to which it is looked for: what is brighter at the border is tissue
# Shares of an area.
AIR = 0.02  # of an image: so much of it tells Hounsfield units
PART = 0.35  # of the largest part: two legs are alike, a table is smaller
SEEN = 0.05  # of the border: less than this is a dark corner of the body
CLEAR = 0.25  # of what is dark at the border: if less of it is flat, it is dark tissue
LINE = 0.5  # of a row: a frame drawn around the image, longer than any bone that is as thin
AROUND = 0.5  # of the border of the field: with so much background there, it surrounds the body
RECORDS_AIR = ("CT", "MR", "PT", "NM")  # modalities that store the air around the patient as well
FILLED = ("US", "IVUS", "XA", "RF", "ES", "OP", "OPT")  # whose field the body fills; blood in US is black


def body(image: Image) -> Mask:
    """True inside the patient: lungs and bowel gas are, tables, tubes and letters are not.

    Args:
        image: Of any modality, grey or colour.

    Returns:
        bool, of the image's shape, never empty. The field of view where the body fills it. Parts
        much smaller than the largest one are lost, such as an arm beside a chest.
    """
    grey = Grey.of(image)
    if grey.hounsfield:
        rows, columns = image.spacing[-2:] if image.spacing else (1.0, 1.0)
        mask = _filled(_largest(_opened(_dense(grey), TABLE / rows, TABLE / columns)))
    else:
        field = field_of_view(image)
        bright = None if image.modality in FILLED else _bright(grey.values, field)
        if bright is None:
            return field
        thin = THIN * min(image.shape[-2:])
        mask = _with_scalp(_filled(_largest(_opened(bright, thin, thin))), bright)
    return mask if mask.any() else np.ones(image.shape, bool)


def head(image: Image) -> Mask:
    """True inside the head with skin, ears and neck; its outline is smooth.

    Args:
        image: MR or CT of a head: a slice in any direction, or a volume.

    Returns:
        bool, of the image's shape, never empty. As `body` where there is no background.
    """
    mask = body(image)
    if mask.all():
        return mask
    side = min(image.shape[-2:])
    sigmas = [0.0] * (mask.ndim - 2) + [ROUND * side] * 2
    closed = _filled(_closed(mask, BAY * side)).astype(np.float32)
    smooth: Mask = ndimage.gaussian_filter(closed, sigmas) > 0.5
    return smooth if smooth.any() else mask


def field_of_view(image: Image) -> Mask:
    """True where the device recorded: no collimation, no mask of a disc or sector, no padding.

    Such fields are convex, so this is the convex hull of what was measured and, in pictures, is
    not black; letters outside it are too small to count. In a picture of a body on black the hull
    lies close around the body, as nothing tells that black from a mask.

    Args:
        image: Of any modality, grey or colour.

    Returns:
        bool, of the image's shape, never empty.
    """
    grey = Grey.of(image)
    inside = grey.measured
    # A volume that does not tell its modality is CT or MR.
    picture = image.modality not in RECORDS_AIR and (image.modality != "" or len(image.shape) == 2)
    if not grey.hounsfield:
        inside = inside & ~_constant(grey.values)
        if picture:
            inside &= ~_black(grey.values)
    if not inside.all():
        thin = THIN * min(image.shape[-2:])
        planes = _opened(inside, thin, thin).reshape(-1, *image.shape[-2:])
        inside = np.stack([_hulls(plane, PART if picture else 0.0) for plane in planes]).reshape(image.shape)
    return inside if inside.any() else np.ones(image.shape, bool)


@dataclass(frozen=True, eq=False)
class Grey:
    """An image as these functions see it.

    Args:
        values: float32, bright where the screen is; the least value where nothing was measured.
            The brightest channel of a colour, as black is where none shines.
        measured: False in padding, at NaN, and below what CT can measure.
        hounsfield: Whether the values are Hounsfield units, of an image that shows air.
    """

    values: Values
    measured: Mask
    hounsfield: bool

    @staticmethod
    def of(image: Image) -> Grey:
        """Look at an image."""
        values = image.physical()
        measured = ~image.padding_mask()
        if values.ndim > len(image.shape):
            values = values.max(axis=-1)
        measured &= np.isfinite(values)
        air = values[measured & (values > LEAST) & (values < SKIN)]
        told = image.scale.unit == "HU" and air.size > 0
        likely = image.modality in ("CT", "") and air.size > AIR * values.size and np.median(air) < LUNG
        if told or likely:
            measured &= values >= LEAST
        elif image.photometric == "MONOCHROME1":
            values = -values
        least = values[measured].min() if measured.any() else np.float32(0)
        return Grey(np.where(measured, values, least), measured, bool(told or likely))


@dataclass(frozen=True)
class _Background:
    """A flat, dark level found at a border.

    Args:
        level: Its most common value.
        noise: Standard deviation.
        tissue: Median of what Otsu's threshold calls bright.
        share: Of the border that shows it.
    """

    level: float
    noise: float
    tissue: float
    share: float

    @staticmethod
    def of(values: Values, field: Mask) -> _Background | None:
        """The background that shows at the border of a field, if any."""
        inside = values[field]
        low, high = np.percentile(inside, (0.5, 99.5))
        if high <= low:
            return None
        otsu = threshold_otsu(np.clip(inside, low, high))
        tissue = np.median(inside[inside > otsu])
        edge, top = values[_border(field)], low + DIM * (high - low)
        dark = np.maximum(edge[edge <= min(otsu, top)], low)
        if not dark.size:
            return None
        # Bins of half a percent of the range, smoothed, so that noise alone makes no mode.
        counts, bins = np.histogram(dark, bins=64, range=(low, top))
        common = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(np.float64), 1.0)))
        level = (bins[common] + bins[common + 1]) / 2
        flat = np.abs(dark - level) < FLAT * (tissue - level)
        share = np.count_nonzero(flat) / edge.size
        below = dark[dark < level] - level  # tissue adds to the half above
        noise = np.sqrt(np.mean(below**2)) if below.size else 0.0
        lowest = max(DARK * (high - low), 3 * noise)  # of what was subtracted from, noise goes below
        if level - low > lowest or share < SEEN or np.mean(flat) < CLEAR:
            return None
        return _Background(float(level), float(noise), float(tissue), share)

    def end(self, least: float, most: float = np.inf) -> float:
        """Where it ends: four sigma up, yet between these shares of the way to tissue."""
        way = self.tissue - self.level
        return self.level + min(max(4 * self.noise, least * way), most * way)


def _dense(grey: Grey) -> Mask:
    """What is no air, and the lungs that the frame cuts open."""
    dense = grey.measured & (grey.values > SKIN)
    labels, count = ndimage.label(_from_frame(~dense) & grey.measured, _in_plane(dense.ndim))
    if count:
        lung = ndimage.median(grey.values, labels, np.arange(1, count + 1)) > LUNG
        dense |= np.append(False, lung)[labels]
    return dense


def _bright(values: Values, field: Mask) -> Mask | None:
    """What rises above the background, without lines right across; None where none shows.

    In a disc the background is that of the disc, with its noise, if it surrounds the body there;
    otherwise it is that of the frame.
    """
    side = min(field.shape[-2:])
    smooth = ndimage.gaussian_filter(values, [0.0] * (values.ndim - 2) + [max(1.0, BLUR * side)] * 2)
    background = _Background.of(smooth, field)
    if background is None or background.share < AROUND:
        field = np.ones(field.shape, bool)
        background = _Background.of(smooth, field)
    if background is None:
        return None
    bright = field & (smooth > background.end(TISSUE))
    thin = bright & ~_opened(bright, EDGE * side, EDGE * side)
    across = (thin.mean(axis=-1, keepdims=True) > LINE) | (thin.mean(axis=-2, keepdims=True) > LINE)
    return bright & ~(thin & across)


def _with_scalp(mask: Mask, bright: Mask) -> Mask:
    """The mask, and in planes where something thin runs around all of it, what that encloses.

    So a head keeps its scalp, which the black bone parts from the brain.
    """
    enclosed = _filled(bright & ~mask)
    size = mask.sum(axis=(-2, -1), keepdims=True)
    around = (enclosed & mask).sum(axis=(-2, -1), keepdims=True) >= AROUND * np.maximum(size, 1)
    return _largest(mask | (enclosed & around))


def _constant(values: Values) -> Mask:
    """What the frame joins to one exact value: the least, or the greatest if it fills a side."""
    constant, greatest = values == values.min(), values == values.max()
    sides = (greatest[..., 0, :], greatest[..., -1, :], greatest[..., 0], greatest[..., -1])
    if any(side.all() for side in sides):
        constant |= greatest
    size = THIN / 2 * min(values.shape[-2:])
    return _opened(_from_frame(constant), size, size)


def _black(values: Values) -> Mask:
    """What the frame joins to black, in a picture."""
    frames = [1] * (values.ndim - 2)
    quiet = ndimage.median_filter(values, [*frames, MEDIAN, 1])  # by rows, then columns: fast
    quiet = ndimage.median_filter(quiet, [*frames, 1, MEDIAN])
    background = _Background.of(quiet, np.ones(values.shape, bool))
    if background is None:
        return np.zeros(values.shape, bool)
    return _from_frame(quiet <= background.end(*BLACK))


def _border(field: Mask) -> Mask:
    """The inner border of a field."""
    width = 2 * EDGE * min(field.shape[-2:])
    return field & ~ndimage.minimum_filter(field, _box(field.ndim, width, width), mode="constant")


def _from_frame(mask: Mask) -> Mask:
    """The parts of a mask, plane by plane, that touch the frame."""
    labels, count = ndimage.label(mask, _in_plane(mask.ndim))
    touching = np.zeros(count + 1, bool)
    for side in (labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]):
        touching[side] = True
    touching[0] = False
    return touching[labels]


def _filled(mask: Mask) -> Mask:
    """Holes closed plane by plane, as lungs are open at the ends of a volume."""
    return ~_from_frame(~mask)


def _largest(mask: Mask, share: float = PART) -> Mask:
    """The largest connected part, and those of at least this share of its size."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= max(1.0, share * sizes.max()))[labels]


def _hulls(plane: Mask, share: float) -> Mask:
    """The convex hulls of a plane's parts, of those of at least this share of the largest."""
    labels, _ = ndimage.label(_largest(plane, share))
    hulls = np.zeros(plane.shape, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        hulls[box] |= convex_hull_image(labels[box] == number)
    return hulls


def _opened(mask: Mask, rows: float, columns: float) -> Mask:
    """Without what is thinner than this in the plane; there is nothing outside the frame."""
    opened: Mask = ndimage.grey_opening(mask, _box(mask.ndim, rows, columns), mode="constant")
    return opened


def _closed(mask: Mask, width: float) -> Mask:
    """With the gaps that are narrower than this in the plane; nothing sticks to the frame."""
    rim = int(np.ceil(width))
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(rim, rim)] * 2)
    return ndimage.grey_closing(padded, _box(mask.ndim, width, width))[..., rim:-rim, rim:-rim]


def _box(ndim: int, rows: float, columns: float) -> list[int]:
    """The size of a box in the plane, odd to be centred."""
    return [1] * (ndim - 2) + [2 * max(1, round(extent / 2)) + 1 for extent in (rows, columns)]


def _in_plane(ndim: int) -> Mask:
    """The structure that joins a pixel to its four neighbours in the plane."""
    cross = ndimage.generate_binary_structure(2, 1)
    return np.pad(cross[(None,) * (ndim - 2)], [(1, 1)] * (ndim - 2) + [(0, 0)] * 2)
