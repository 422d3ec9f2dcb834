"""Natural synthetic anomalies: patches of another image, resized, moved and blended without a seam.

Schlüter, Tan, Hou, Kainz, "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and
Localization", ECCV 2022, https://arxiv.org/abs/2109.15222. Numbers are those of the authors' code
for chest X-rays (hmsch/natural-synthetic-anomalies); its lengths are for images of 224 x 224 pixels.

Differs from that code: the background is found in each image, not given; Poisson's equation is
solved for the whole patch, where OpenCV leaves the host's gradients in a rim of three pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from intact.forge.synthetic.foreground import foreground, majority, scaled
from intact.forge.synthetic.jitter import Picture
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.seamless import GUIDES, seamless

ATTEMPTS = 200  # at a place that shows enough of the body, before a patch is given up
GREY = 255.0  # levels of brightness that the thresholds are given in

Mask = Bool[ndarray, "h w"]
Plane = Float[ndarray, "h w"]


@dataclass(frozen=True)
class Patches:
    """How patches are drawn.

    Args:
        most: Patches per image: the first always, each other with probability 1/2.
        shape: Of the Gamma distribution that the halves of a patch's sides follow.
        scale: Its scale, as a share of the image's side.
        shift: Added to it.
        bounds: Least and greatest half of a side; also least and greatest side after resizing.
        resize: Least and greatest factor of the size, a normal variable with mean 1, deviation 1/2.
        body: Share of the patch that must show the body.
        overlap: Share of the patch's body that must come to lie on the body.
    """

    most: int = 3
    shape: float = 2.0
    scale: float = 0.03
    shift: float = 0.05
    bounds: tuple[float, float] = (0.03, 0.4)
    resize: tuple[float, float] = (0.7, 1.3)
    body: float = 0.7
    overlap: float = 0.7


Label = Callable[[Plane, Mask], Plane]  # of the change in grey levels, and of where there is any


def binary(change: Plane, changed: Mask) -> Plane:
    """1 where the image changed."""
    return changed.astype(np.float32)


def continuous(change: Plane, changed: Mask) -> Plane:
    """The change, smoothed by a median, as a share of the range."""
    return _median(change, changed) / GREY


def logistic(steepness: float, middle: float) -> Label:
    """The logistic function of the smoothed change: 1/2 at `middle` grey levels."""

    def label(change: Plane, changed: Mask) -> Plane:
        return changed / (1.0 + np.exp(-steepness * (_median(change, changed) - middle)))

    return label


CHEST = logistic(0.5, 4.0)  # the authors' for chest X-rays


def natural_anomalies(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    patches: Patches = Patches(),
    gradients: str = "mixed",
    label: Label = CHEST,
) -> Made:
    """Blend patches of the image before it into each image.

    Args:
        images: In [0, 1]; into the first come patches of the last.
        rng: Draws everything.
        patches: How patches are drawn.
        gradients: Key in `GUIDES`.
        label: `binary`, `continuous` or `logistic(...)`.
    """
    pictures = images.numpy(force=True)
    bodies = foreground(pictures)
    made, labels = pictures.copy(), np.zeros_like(pictures[:, 0])
    for i, picture in enumerate(made):
        touched = np.zeros_like(bodies[i])
        for k in range(patches.most):
            if k == 0 or rng.random() < 0.5:
                blend = _Blend(picture, bodies[i], pictures[i - 1], bodies[i - 1])
                touched |= _add_patch(blend, rng, patches, gradients)
        change = GREY * np.abs(picture - pictures[i]).mean(axis=0) * touched
        changed = majority(change > 1.0, 2 * scaled(2, len(change)) + 1)
        labels[i] = label(change * changed, changed)
    return Made(torch.from_numpy(made).to(images), torch.from_numpy(labels).to(images))


class _Blend(NamedTuple):
    """The image that is changed, the one that patches come from, and where they show the body."""

    host: Picture
    host_body: Mask
    guest: Picture
    guest_body: Mask


def _add_patch(of: _Blend, rng: np.random.Generator, how: Patches, gradients: str) -> Mask:
    """Blend one patch into the host; nothing if no place is found.

    Returns:
        Where the body was or came in.
    """
    touched = np.zeros_like(of.host_body)
    size = np.array(touched.shape)
    least, most = (np.maximum(1, np.rint(b * size)).astype(int) for b in how.bounds)
    halves = ((how.shift + rng.gamma(how.shape, how.scale, size=2)) * size).astype(int).clip(least, most)
    taken = _find_source(of.guest_body, halves, least, rng, how.body)
    if taken is None:
        return touched
    sides = _resized([s.stop - s.start for s in taken], rng, how.resize, least, most)
    patch = cv2.resize(of.guest[(slice(None), *taken)].transpose(1, 2, 0), sides[::-1])
    patch = patch.reshape(*sides, -1).transpose(2, 0, 1)
    patch_body = cv2.resize(of.guest_body[taken].astype(np.uint8), sides[::-1]) > 0
    box = _find_destination(of.host_body, patch_body, rng, how)
    if box is None:
        return touched
    inside = of.host[(slice(None), *box)]
    inside[:] = seamless(inside, patch, np.ones(sides, bool), GUIDES[gradients]).clip(0.0, 1.0)
    touched[box] = patch_body | of.host_body[box]
    return touched


def _find_source(
    body: Mask, halves: ndarray, least: ndarray, rng: np.random.Generator, share: float
) -> tuple[slice, slice] | None:
    """The first of many random boxes that shows enough of the body; at the border boxes are cut."""
    centres = rng.integers(least, np.array(body.shape) - least, size=(ATTEMPTS, 2))
    (tops, lefts), (bottoms, rights) = (np.clip(centres + sign * halves, 0, body.shape).T for sign in (-1, 1))
    sums = cv2.integral(body.astype(np.uint8))  # over all that is above and to the left
    pixels = sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
    good = np.flatnonzero(pixels > share * (bottoms - tops) * (rights - lefts))
    if not len(good):
        return None
    k = good[0]
    return slice(int(tops[k]), int(bottoms[k])), slice(int(lefts[k]), int(rights[k]))


def _resized(
    sides: list[int],
    rng: np.random.Generator,
    factors: tuple[float, float],
    least: ndarray,
    most: ndarray,
) -> tuple[int, int]:
    """New sides in the same proportion, as far as the bounds allow."""
    rows, columns = sides
    factor = float(np.clip(rng.normal(1.0, 0.5), *factors))
    height = np.clip(factor * rows, least[0], most[0])
    width = int(np.clip(int(height / rows * columns), least[1], most[1]))
    return int(np.clip(int(width / columns * rows), least[0], most[0])), width


def _find_destination(
    body: Mask, patch_body: Mask, rng: np.random.Generator, how: Patches
) -> tuple[slice, slice] | None:
    rows, columns = patch_body.shape
    if patch_body.mean() <= how.body:
        return None
    for _ in range(ATTEMPTS):
        top = int(rng.integers(body.shape[0] - rows + 1))
        left = int(rng.integers(body.shape[1] - columns + 1))
        box = (slice(top, top + rows), slice(left, left + columns))
        if (body[box] & patch_body).sum() > how.overlap * patch_body.sum():
            return box
    return None


def _median(change: Plane, where: Mask) -> Plane:
    """Median over discs around the pixels of the mask, the border repeated; 0 elsewhere."""
    radius = scaled(5, len(change))
    at = np.arange(-radius, radius + 1)
    down, right = np.nonzero(np.add.outer(at**2, at**2) <= radius**2)
    padded = np.pad(change, radius, mode="edge")
    corners = np.ravel_multi_index(np.nonzero(where), padded.shape)
    values = padded.ravel()[corners[:, None] + (down * padded.shape[1] + right)]
    middle = len(down) // 2  # a disc has an odd number of pixels
    median = np.zeros_like(change)
    if len(values):
        median[where] = np.partition(values, middle, axis=1)[:, middle]
    return median
