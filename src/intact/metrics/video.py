"""How well each frame of a film follows from the one before, once its motion is taken away.

The temporal consistency error of a transition is the mean difference between a frame and the one before
it, moved along the optical flow between them, over the pixels whose flow can be trusted. Frames that
were left out, put in or repeated stand out in the curve over all transitions.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

RANGE = 0.5, 99.5  # percentiles of a film's values that become 0 and 1
TRUSTED = 1.0  # pixels, by which the flow there and back may miss
FLOOR = 0.05  # of a curve's median: what its spread is at least
MAD = 1.4826
CELL = 32  # pixels, side of the squares of a local error

Frames = Float[ndarray, "n h w"]
Flow = Float[ndarray, "n h w 2"]


def normalised(frames: Frames) -> Frames:
    """A film's values from 0 to 1, by the range that holds 99 % of them; beyond, they go beyond."""
    low, high = np.percentile(frames, RANGE)
    return ((frames - low) / max(float(high - low), 1e-12)).astype(np.float32)


def backward_flow(frames: Frames) -> tuple[Flow, Bool[ndarray, "n h w"]]:
    """Where each pixel of a frame was in the frame before.

    Dense inverse search (Kroeger, Timofte, Dai & Van Gool, ECCV 2016), both ways.

    Args:
        frames: [n + 1, h, w], in any unit, 12 pixels or more a side.

    Returns:
        Steps to the frame before, (columns, rows) in pixels, and where the flow from there leads back
        to within a pixel.
    """
    shown = np.clip(np.rint(255 * normalised(frames)), 0, 255).astype(np.uint8)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    still = np.zeros((*shown.shape[1:], 2), np.float32)
    there = [search.calc(after, before, still.copy()) for before, after in pairwise(shown)]
    back = [search.calc(before, after, still.copy()) for before, after in pairwise(shown)]
    flow = np.stack(there)
    missed = np.stack([one + warped(other, one) for one, other in zip(there, back, strict=True)])
    return flow, np.hypot(missed[..., 0], missed[..., 1]) < TRUSTED


def warped(frame: Float[ndarray, "h w *c"], flow: Float[ndarray, "h w 2"]) -> Float[ndarray, "h w *c"]:
    """The values of a frame at the places that the flow leads to, between pixels by two lines."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    moved: Float[ndarray, "h w *c"] = cv2.remap(
        frame, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def temporal_consistency(
    frames: Frames, flow: Flow, trusted: Bool[ndarray, "n h w"], p: float = 1.0
) -> Float[ndarray, "n"]:
    """The temporal consistency error of each transition; its mean is that of the film.

    Args:
        frames: [n + 1, h, w] of intensity, or of a detector's probabilities, float32.
        flow: To the frame before (`backward_flow`), of the genuine film if there is one.
        trusted: Where the flow is good.
        p: Of the norm.

    Returns:
        In the unit of the frames; 0 where no flow is trusted.
    """
    differences = _differences(frames, flow)
    count = np.maximum(trusted.sum(axis=(1, 2)), 1)
    total = np.where(trusted, differences**p, 0.0).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray((total / count) ** (1 / p))


def local_consistency(
    frames: Frames, flow: Flow, trusted: Bool[ndarray, "n h w"], cell: int = CELL
) -> Float[ndarray, "n r c"]:
    """The error of each transition in squares of `cell` pixels: where a part of the picture jumps."""
    rows, columns = (max(1, n // cell) for n in frames.shape[1:])
    maps = np.where(trusted, _differences(frames, flow), 0).astype(np.float32)
    weight = [
        cv2.resize(one.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) for one in trusted
    ]
    total = [cv2.resize(one, (columns, rows), interpolation=cv2.INTER_AREA) for one in maps]
    return np.stack(total) / np.maximum(np.stack(weight), 1e-6)


def robust_z(curve: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    """By how many standard deviations values exceed the median; these are 5 % of the median at least."""
    middle = float(np.median(curve))
    spread = max(MAD * float(np.median(np.abs(curve - middle))), FLOOR * abs(middle), 1e-12)
    return (curve - middle) / spread


def locally_normalised(frames: Frames, side: int = 15) -> Frames:
    """Values less their mean around, over their deviation around: blind to contrast that flows in.

    Args:
        frames: From 0 to 1.
        side: Of the square around, in pixels.
    """
    size = (0, side, side)
    mean = ndimage.uniform_filter(frames, size)
    deviation = np.sqrt(np.maximum(ndimage.uniform_filter(frames * frames, size) - mean * mean, 0))
    # Where nothing is, rounding would be blown up.
    return ((frames - mean) / (deviation + 0.25 * deviation.mean() + 1e-6)).astype(np.float32)


def _differences(frames: Frames, flow: Flow) -> Frames:
    """Size of the difference between each frame and the one before, moved."""
    moved = [warped(frame, step) for frame, step in zip(frames, flow, strict=False)]
    return np.abs(frames[1:] - np.stack(moved))
