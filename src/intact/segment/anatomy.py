"""Where the patient is in an image, where its head is, and where the device recorded anything at all.

Thresholds and morphology, nothing is learned. CT is cut at a fixed number of Hounsfield units.
Elsewhere the threshold stands just above the background, whose level and noise are read off the
border of the image.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from intact.image import Image
from intact.segment.grey import EDGE, LUNG, SKIN, Background, Grey, Values
from intact.segment.morphology import Mask, closed, filled, from_frame, hulls, in_plane, largest, opened

TABLE = 6.0  # mm; the shells of tables, tubes and wires are thinner, walls of the body are not
MEDIAN = 5  # pixels; quiets JPEG noise in black
# Lengths as shares of the shorter side, where there is no scale to trust.
BLUR = 0.004  # sigma before a threshold, one pixel at least
THIN = 0.012  # width of what is removed: letters, frames, shells of tables
BAY = 0.1  # width of what belongs to a head between its bright parts: mouth, ear, dark neck
ROUND = 0.015  # sigma that smooths the outline of a head
# Grey levels as shares of the difference between background and tissue.
TISSUE = 0.1  # where tissue begins: skin is not much brighter if its fat is suppressed
BLACK = (0.02, 0.05)  # where a picture is no longer black, with least and with most noise
# Shares of an area.
PART = 0.35  # of the largest part: two legs are alike, a table is smaller
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
        mask = filled(largest(opened(_dense(grey), TABLE / rows, TABLE / columns), PART))
    else:
        field = field_of_view(image)
        bright = None if image.modality in FILLED else _bright(grey.values, field)
        if bright is None:
            return field
        thin = THIN * min(image.shape[-2:])
        mask = _with_scalp(filled(largest(opened(bright, thin, thin), PART)), bright)
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
    whole = filled(closed(mask, BAY * side)).astype(np.float32)
    smooth: Mask = ndimage.gaussian_filter(whole, sigmas) > 0.5
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
        planes = opened(inside, thin, thin).reshape(-1, *image.shape[-2:])
        inside = np.stack([hulls(plane, PART if picture else 0.0) for plane in planes]).reshape(image.shape)
    return inside if inside.any() else np.ones(image.shape, bool)


def _dense(grey: Grey) -> Mask:
    """What is no air, and the lungs that the frame cuts open."""
    dense = grey.measured & (grey.values > SKIN)
    labels, count = ndimage.label(from_frame(~dense) & grey.measured, in_plane(dense.ndim))
    if count:
        pixels = np.bincount(labels.ravel())
        above = np.bincount(labels[grey.values > LUNG], minlength=count + 1)
        lung = 2 * above > pixels  # so the median is
        lung[0] = False
        dense |= lung[labels]
    return dense


def _bright(values: Values, field: Mask) -> Mask | None:
    """What rises above the background, without lines right across; None where none shows.

    In a disc the background is that of the disc, with its noise, if it surrounds the body there;
    otherwise it is that of the frame.
    """
    side = min(field.shape[-2:])
    smooth = ndimage.gaussian_filter(values, [0.0] * (values.ndim - 2) + [max(1.0, BLUR * side)] * 2)
    background = Background.of(smooth, field)
    if background is None or background.share < AROUND:
        field = np.ones(field.shape, bool)
        background = Background.of(smooth, field)
    if background is None:
        return None
    bright = field & (smooth > background.end(TISSUE))
    thin = bright & ~opened(bright, EDGE * side, EDGE * side)
    across = (thin.mean(axis=-1, keepdims=True) > LINE) | (thin.mean(axis=-2, keepdims=True) > LINE)
    return bright & ~(thin & across)


def _with_scalp(mask: Mask, bright: Mask) -> Mask:
    """The mask, and in planes where something thin runs around all of it, what that encloses.

    So a head keeps its scalp, which the black bone parts from the brain.
    """
    enclosed = filled(bright & ~mask)
    size = mask.sum(axis=(-2, -1), keepdims=True)
    around = (enclosed & mask).sum(axis=(-2, -1), keepdims=True) >= AROUND * np.maximum(size, 1)
    return largest(mask | (enclosed & around), PART)


def _constant(values: Values) -> Mask:
    """What the frame joins to one exact value: the least, or the greatest if it fills a side."""
    constant, greatest = values == values.min(), values == values.max()
    sides = (greatest[..., 0, :], greatest[..., -1, :], greatest[..., 0], greatest[..., -1])
    if any(side.all() for side in sides):
        constant |= greatest
    size = THIN / 2 * min(values.shape[-2:])
    return opened(from_frame(constant), size, size)


def _black(values: Values) -> Mask:
    """What the frame joins to black, in a picture."""
    frames = [1] * (values.ndim - 2)
    quiet = ndimage.median_filter(values, [*frames, MEDIAN, 1])  # by rows, then columns: fast
    quiet = ndimage.median_filter(quiet, [*frames, 1, MEDIAN])
    background = Background.of(quiet, np.ones(values.shape, bool))
    if background is None:
        return np.zeros(values.shape, bool)
    return from_frame(quiet <= background.end(*BLACK))
